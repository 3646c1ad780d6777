// Parsing expressions. One function per level of precedence; make() keeps the depth of every tree.
// A chain of equal operators nests to the left, so its length counts as depth.
#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <cstdlib>

#include "engine/text/template_parser.h"

namespace echelon::templates {

namespace {

ExprPtr make(ExprKind kind, int line, std::vector<ExprPtr> children = {}) {
  auto node = std::make_unique<Expr>();
  node->kind = kind;
  node->line = line;
  for (const ExprPtr& child : children) {
    if (child) node->depth = std::max(node->depth, child->depth + 1);
  }
  if (node->depth > kMaxExpressionDepth)
    fail_parse(line, fmt::format("an expression is deeper than {}", kMaxExpressionDepth));
  node->children = std::move(children);
  return node;
}

template <typename... Exprs>
std::vector<ExprPtr> pack(Exprs... exprs) {
  std::vector<ExprPtr> all;
  (all.push_back(std::move(exprs)), ...);
  return all;
}

ExprPtr make_constant(int line, Value value) {
  ExprPtr node = make(ExprKind::constant, line);
  node->value = std::move(value);
  return node;
}

int64_t integer_of(const Token& token) {
  const std::string& text = token.text;
  const char letter = text.size() > 2 ? static_cast<char>(text[1] | 0x20) : '\0';
  const int base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 10;
  int64_t value = 0;
  const auto parsed = std::from_chars(text.data() + (base == 10 ? 0 : 2), text.data() + text.size(), value, base);
  if (parsed.ec != std::errc()) fail_parse(token.line, fmt::format("the number {} is too large", text));
  return value;
}

ExprPtr with_arguments(ExprPtr node, std::vector<Argument> arguments) {
  for (const Argument& argument : arguments) node->depth = std::max(node->depth, argument.value->depth + 1);
  if (node->depth > kMaxExpressionDepth)
    fail_parse(node->line, fmt::format("an expression is deeper than {}", kMaxExpressionDepth));
  node->arguments = std::move(arguments);
  return node;
}

}  // namespace

const Token& TokenStream::peek(size_t ahead) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }

Token TokenStream::next() {
  const Token& token = peek();
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool TokenStream::take_op(std::string_view op) {
  const bool here = at_op(op);
  if (here) next();
  return here;
}

bool TokenStream::take_name(std::string_view name) {
  const bool here = at_name(name);
  if (here) next();
  return here;
}

void TokenStream::expect_op(std::string_view op) {
  if (!take_op(op)) fail_parse(line(), fmt::format("'{}' is expected, not '{}'", op, peek().text));
}

std::string TokenStream::expect_name() {
  if (peek().kind != TokenKind::name) fail_parse(line(), fmt::format("a name is expected, not '{}'", peek().text));
  return next().text;
}

void TokenStream::expect(TokenKind kind, std::string_view what) {
  if (peek().kind != kind) fail_parse(line(), fmt::format("{} is expected, not '{}'", what, peek().text));
  next();
}

void TokenStream::fail_unexpected() const {
  const bool tag = peek().kind == TokenKind::tag_end || peek().kind == TokenKind::output_end;
  fail_parse(line(),
             tag ? "the tag ends where an expression is expected" : fmt::format("unexpected '{}'", peek().text));
}

TokenStream::Nested::Nested(TokenStream& tokens) : tokens_(tokens) {
  if (++tokens_.depth_ > kMaxParseDepth)
    fail_parse(tokens_.line(), fmt::format("nested deeper than {} levels", kMaxParseDepth));
}

ExprPtr ExpressionParser::parse(bool with_condition) {
  const TokenStream::Nested nested(tokens_);
  return with_condition ? parse_condition() : parse_or();
}

bool ExpressionParser::at_tuple_end() const {
  const Token& token = tokens_.peek();
  return token.kind == TokenKind::tag_end || token.kind == TokenKind::output_end || token.kind == TokenKind::end ||
         tokens_.at_op(")") || tokens_.at_op("]") || tokens_.at_op("}");
}

ExprPtr ExpressionParser::parse_tuple(bool with_condition) {
  const int line = tokens_.line();
  std::vector<ExprPtr> items;
  items.push_back(parse(with_condition));
  if (!tokens_.at_op(",")) return std::move(items.front());
  while (tokens_.take_op(",") && !at_tuple_end()) items.push_back(parse(with_condition));
  return make(ExprKind::tuple, line, std::move(items));
}

ExprPtr ExpressionParser::parse_condition() {
  ExprPtr node = parse_or();
  while (tokens_.at_name("if")) {
    const int line = tokens_.next().line;
    ExprPtr condition = parse_or();
    ExprPtr otherwise;
    if (tokens_.take_name("else")) otherwise = parse();
    node = make(ExprKind::condition, line, pack(std::move(condition), std::move(node), std::move(otherwise)));
  }
  return node;
}

ExprPtr ExpressionParser::parse_or() {
  ExprPtr node = parse_and();
  while (tokens_.at_name("or")) {
    const int line = tokens_.next().line;
    ExprPtr right = parse_and();
    node = make(ExprKind::logical_or, line, pack(std::move(node), std::move(right)));
  }
  return node;
}

ExprPtr ExpressionParser::parse_and() {
  ExprPtr node = parse_not();
  while (tokens_.at_name("and")) {
    const int line = tokens_.next().line;
    ExprPtr right = parse_not();
    node = make(ExprKind::logical_and, line, pack(std::move(node), std::move(right)));
  }
  return node;
}

ExprPtr ExpressionParser::parse_not() {
  if (!tokens_.at_name("not")) return parse_compare();
  const TokenStream::Nested nested(tokens_);
  const int line = tokens_.next().line;
  return make(ExprKind::logical_not, line, pack(parse_not()));
}

ExprPtr ExpressionParser::parse_compare() {
  const int line = tokens_.line();
  std::vector<ExprPtr> operands;
  std::vector<std::string> ops;
  operands.push_back(parse_sum());
  while (true) {
    const bool not_in =
        tokens_.at_name("not") && tokens_.peek(1).kind == TokenKind::name && tokens_.peek(1).text == "in";
    const Token& token = tokens_.peek();
    const bool symbol = token.kind == TokenKind::op && (token.text == "==" || token.text == "!=" || token.text == "<" ||
                                                        token.text == "<=" || token.text == ">" || token.text == ">=");
    if (not_in) {
      tokens_.next();
      tokens_.next();
      ops.emplace_back("not in");
    } else if (symbol || tokens_.at_name("in")) {
      ops.push_back(tokens_.next().text);
    } else {
      break;
    }
    operands.push_back(parse_sum());
  }
  if (ops.empty()) return std::move(operands.front());
  ExprPtr node = make(ExprKind::compare, line, std::move(operands));
  node->ops = std::move(ops);
  return node;
}

ExprPtr ExpressionParser::parse_binary(ExprPtr (ExpressionParser::*part)(),
                                       std::initializer_list<std::string_view> ops) {
  ExprPtr node = (this->*part)();
  while (true) {
    const Token& token = tokens_.peek();
    const bool here = token.kind == TokenKind::op && std::find(ops.begin(), ops.end(), token.text) != ops.end();
    if (!here) return node;
    const Token op = tokens_.next();
    ExprPtr right = (this->*part)();
    node = make(ExprKind::binary, op.line, pack(std::move(node), std::move(right)));
    node->name = op.text;
  }
}

ExprPtr ExpressionParser::parse_sum() { return parse_binary(&ExpressionParser::parse_concat, {"+", "-"}); }

ExprPtr ExpressionParser::parse_concat() {
  const int line = tokens_.line();
  std::vector<ExprPtr> parts;
  parts.push_back(parse_product());
  while (tokens_.take_op("~")) parts.push_back(parse_product());
  return parts.size() == 1 ? std::move(parts.front()) : make(ExprKind::concat, line, std::move(parts));
}

ExprPtr ExpressionParser::parse_product() {
  return parse_binary(&ExpressionParser::parse_power, {"*", "/", "//", "%"});
}

ExprPtr ExpressionParser::parse_power() {
  ExprPtr node = parse_unary(true);
  while (tokens_.at_op("**")) {
    const int line = tokens_.next().line;
    ExprPtr right = parse_unary(true);
    node = make(ExprKind::binary, line, pack(std::move(node), std::move(right)));
    node->name = "**";
  }
  return node;
}

ExprPtr ExpressionParser::parse_unary(bool with_filter) {
  ExprPtr node;
  if (tokens_.at_op("-") || tokens_.at_op("+")) {
    const TokenStream::Nested nested(tokens_);
    const Token op = tokens_.next();
    node = make(op.text == "-" ? ExprKind::negate : ExprKind::plus, op.line, pack(parse_unary(false)));
  } else {
    node = parse_primary();
  }
  node = parse_postfix(std::move(node));
  return with_filter ? parse_filters_and_tests(std::move(node)) : std::move(node);
}

ExprPtr ExpressionParser::parse_primary() {
  const Token token = tokens_.peek();
  if (tokens_.at_op("[")) return parse_list();
  if (tokens_.at_op("{")) return parse_dict();
  tokens_.next();
  switch (token.kind) {
    case TokenKind::name: {
      if (token.text == "true" || token.text == "True") return make_constant(token.line, Value(true));
      if (token.text == "false" || token.text == "False") return make_constant(token.line, Value(false));
      if (token.text == "none" || token.text == "None") return make_constant(token.line, Value());
      ExprPtr node = make(ExprKind::name, token.line);
      node->name = token.text;
      return node;
    }
    case TokenKind::string: {
      std::string text = token.text;
      while (tokens_.peek().kind == TokenKind::string) text += tokens_.next().text;
      return make_constant(token.line, Value(std::move(text)));
    }
    case TokenKind::integer:
      return make_constant(token.line, Value(integer_of(token)));
    case TokenKind::real: {
      const double value = std::strtod(token.text.c_str(), nullptr);
      if (std::isinf(value)) fail_parse(token.line, fmt::format("the number {} is out of range", token.text));
      return make_constant(token.line, Value(value));
    }
    default:
      break;
  }
  if (token.kind == TokenKind::op && token.text == "(") {
    ExprPtr node = tokens_.at_op(")") ? make(ExprKind::tuple, token.line) : parse_tuple();
    tokens_.expect_op(")");
    return node;
  }
  fail_parse(token.line, token.text.empty() ? "an expression is expected" : fmt::format("unexpected '{}'", token.text));
}

ExprPtr ExpressionParser::parse_list() {
  const int line = tokens_.next().line;
  std::vector<ExprPtr> items;
  while (!tokens_.at_op("]")) {
    items.push_back(parse());
    if (!tokens_.take_op(",")) break;
  }
  tokens_.expect_op("]");
  return make(ExprKind::list, line, std::move(items));
}

ExprPtr ExpressionParser::parse_dict() {
  const int line = tokens_.next().line;
  std::vector<ExprPtr> items;
  while (!tokens_.at_op("}")) {
    items.push_back(parse());
    tokens_.expect_op(":");
    items.push_back(parse());
    if (!tokens_.take_op(",")) break;
  }
  tokens_.expect_op("}");
  return make(ExprKind::dict, line, std::move(items));
}

ExprPtr ExpressionParser::parse_postfix(ExprPtr node) {
  while (true) {
    if (tokens_.at_op(".") || tokens_.at_op("[")) {
      node = parse_subscript(std::move(node));
    } else if (tokens_.at_op("(")) {
      const int line = tokens_.line();
      node = make(ExprKind::call, line, pack(std::move(node)));
      node = with_arguments(std::move(node), parse_arguments());
    } else {
      return node;
    }
  }
}

ExprPtr ExpressionParser::parse_subscript(ExprPtr node) {
  const Token token = tokens_.next();
  if (token.text == ".") {
    const Token member = tokens_.next();
    if (member.kind == TokenKind::name) {
      node = make(ExprKind::attribute, token.line, pack(std::move(node)));
      node->name = member.text;
      return node;
    }
    if (member.kind != TokenKind::integer) fail_parse(token.line, "a name or a number is expected after '.'");
    return make(ExprKind::item, token.line,
                pack(std::move(node), make_constant(token.line, Value(integer_of(member)))));
  }
  ExprPtr begin, end, step;
  if (!tokens_.at_op(":")) begin = parse();
  if (!tokens_.take_op(":")) {
    tokens_.expect_op("]");
    return make(ExprKind::item, token.line, pack(std::move(node), std::move(begin)));
  }
  if (!tokens_.at_op(":") && !tokens_.at_op("]")) end = parse();
  if (tokens_.take_op(":") && !tokens_.at_op("]")) step = parse();
  tokens_.expect_op("]");
  return make(ExprKind::slice, token.line, pack(std::move(node), std::move(begin), std::move(end), std::move(step)));
}

std::vector<Argument> ExpressionParser::parse_arguments() {
  tokens_.expect_op("(");
  std::vector<Argument> arguments;
  int most_stars = 0;
  bool any_named = false;
  while (!tokens_.at_op(")")) {
    Argument argument;
    const bool named =
        tokens_.peek().kind == TokenKind::name && tokens_.peek(1).kind == TokenKind::op && tokens_.peek(1).text == "=";
    const int stars = tokens_.take_op("**") ? 2 : tokens_.take_op("*") ? 1 : 0;
    if (stars != 0) {
      if (most_stars >= stars) fail_parse(tokens_.line(), "an argument with stars follows another");
      argument.stars = most_stars = stars;
    } else if (named) {
      if (most_stars == 2) fail_parse(tokens_.line(), "an argument follows one with stars");
      argument.keyword = tokens_.next().text;
      tokens_.next();
      any_named = true;
    } else if (any_named || most_stars > 0) {
      fail_parse(tokens_.line(), "an argument by position follows one by name");
    }
    argument.value = parse();
    arguments.push_back(std::move(argument));
    if (!tokens_.take_op(",")) break;
  }
  tokens_.expect_op(")");
  return arguments;
}

ExprPtr ExpressionParser::parse_filter_chain(ExprPtr input, bool bar_first) {
  bool want_bar = bar_first;
  while (!want_bar || tokens_.take_op("|")) {
    want_bar = true;
    const int line = tokens_.line();
    std::string name = tokens_.expect_name();
    input = make(ExprKind::filter, line, pack(std::move(input)));
    input->name = std::move(name);
    if (tokens_.at_op("(")) input = with_arguments(std::move(input), parse_arguments());
  }
  return input;
}

ExprPtr ExpressionParser::parse_filters_and_tests(ExprPtr node) {
  while (true) {
    if (tokens_.at_op("|")) {
      node = parse_filter_chain(std::move(node), true);
    } else if (tokens_.at_name("is")) {
      node = parse_test(std::move(node));
    } else if (tokens_.at_op("(")) {
      const int line = tokens_.line();
      node = make(ExprKind::call, line, pack(std::move(node)));
      node = with_arguments(std::move(node), parse_arguments());
    } else {
      return node;
    }
  }
}

ExprPtr ExpressionParser::parse_test(ExprPtr node) {
  const int line = tokens_.next().line;
  const bool negated = tokens_.take_name("not");
  std::string name = tokens_.expect_name();
  node = make(ExprKind::test, line, pack(std::move(node)));
  node->name = std::move(name);
  const Token& token = tokens_.peek();
  const bool operand =
      token.kind == TokenKind::string || token.kind == TokenKind::integer || token.kind == TokenKind::real ||
      tokens_.at_op("[") || tokens_.at_op("{") ||
      (token.kind == TokenKind::name && token.text != "else" && token.text != "or" && token.text != "and");
  if (tokens_.at_op("(")) {
    node = with_arguments(std::move(node), parse_arguments());
  } else if (operand) {
    if (tokens_.at_name("is")) fail_parse(line, "tests cannot be chained with 'is'");
    std::vector<Argument> arguments;
    arguments.push_back({"", 0, parse_postfix(parse_primary())});
    node = with_arguments(std::move(node), std::move(arguments));
  }
  return negated ? make(ExprKind::logical_not, line, pack(std::move(node))) : std::move(node);
}

}  // namespace echelon::templates
