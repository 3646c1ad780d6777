// Parsing statements: text, output, and the tags set, if, for, macro, with, filter, generation, break, continue.
// A tag of Jinja that is not one of these is an error that names it.
#include "engine/text/template_parser.h"

#include <fmt/format.h>

#include <algorithm>

namespace echelon::templates {

namespace {

using StatementPtr = std::unique_ptr<Statement>;
using Ends = std::initializer_list<std::string_view>;

class StatementParser {
 public:
  explicit StatementParser(std::vector<Token> tokens) : tokens_(std::move(tokens)), expressions_(tokens_) {}

  Block parse_all() {
    Block block = parse_block({});
    if (tokens_.peek().kind != TokenKind::end)
      fail_parse(tokens_.line(), fmt::format("unexpected tag '{}'", tokens_.peek(1).text));
    return block;
  }

 private:
  /// Up to one of the tags `ends`, whose name is the next token then; without ends, to the end of the template.
  Block parse_block(Ends ends) {
    const TokenStream::Nested nested(tokens_);
    const int first_line = tokens_.line();
    Block block;
    while (true) {
      const Token& token = tokens_.peek();
      switch (token.kind) {
        case TokenKind::text:
          block.push_back(make(StatementKind::text));
          block.back()->text = tokens_.next().text;
          break;
        case TokenKind::output_begin:
          block.push_back(make(StatementKind::output));
          tokens_.next();
          block.back()->value = expressions_.parse_tuple();
          tokens_.expect(TokenKind::output_end, "'}}'");
          break;
        case TokenKind::tag_begin: {
          const Token& name = tokens_.peek(1);
          const bool is_end =
              name.kind == TokenKind::name && std::find(ends.begin(), ends.end(), name.text) != ends.end();
          if (is_end) {
            tokens_.next();
            return block;
          }
          if (ends.size() == 0 && name.text.starts_with("end")) return block;
          block.push_back(parse_tag());
          break;
        }
        default:
          if (ends.size() != 0) fail_parse(first_line, fmt::format("a block has no '{}'", *(ends.end() - 1)));
          return block;
      }
    }
  }

  StatementPtr make(StatementKind kind) {
    auto statement = std::make_unique<Statement>();
    statement->kind = kind;
    statement->line = tokens_.line();
    return statement;
  }

  void end_tag() { tokens_.expect(TokenKind::tag_end, "'%}'"); }

  Block parse_body(std::string_view end) {
    end_tag();
    Block body = parse_block({end});
    tokens_.next();
    end_tag();
    return body;
  }

  /// A body that no break leaves.
  Block parse_closed_body(std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    Block body = parse_body(end);
    loops_ = loops;
    return body;
  }

  StatementPtr parse_tag() {
    tokens_.next();
    const Token tag = tokens_.peek();
    const std::string name = tokens_.expect_name();
    if (name == "set") return parse_set();
    if (name == "if") return parse_if();
    if (name == "for") return parse_for();
    if (name == "macro") return parse_macro();
    if (name == "with") return parse_with();
    if (name == "filter") {
      StatementPtr statement = make(StatementKind::filter);
      statement->value = expressions_.parse_filter_chain(nullptr, false);
      statement->body = parse_body("endfilter");
      return statement;
    }
    if (name == "generation") {
      StatementPtr statement = make(StatementKind::scope);
      statement->body = parse_closed_body("endgeneration");
      return statement;
    }
    if (name == "break" || name == "continue") {
      if (loops_ == 0) fail_parse(tag.line, fmt::format("'{}' outside of a loop", name));
      StatementPtr statement = make(name == "break" ? StatementKind::break_ : StatementKind::continue_);
      end_tag();
      return statement;
    }
    fail_parse(tag.line, fmt::format("the tag '{}' is unknown or not supported", name));
  }

  Target parse_target(bool with_attribute) {
    const TokenStream::Nested nested(tokens_);
    if (tokens_.take_op("(")) {
      Target target = parse_targets(with_attribute);
      tokens_.expect_op(")");
      return target;
    }
    Target target;
    const int line = tokens_.line();
    target.name = tokens_.expect_name();
    for (const std::string_view constant : {"true", "false", "none", "True", "False", "None"}) {
      if (target.name == constant) fail_parse(line, fmt::format("can't assign to '{}'", constant));
    }
    if (with_attribute && tokens_.take_op(".")) target.attribute = tokens_.expect_name();
    return target;
  }

  /// One target, or several with commas.
  Target parse_targets(bool with_attribute) {
    Target first = parse_target(with_attribute);
    if (!tokens_.at_op(",")) return first;
    Target all;
    all.parts.push_back(std::move(first));
    while (tokens_.take_op(",")) {
      const bool more = tokens_.at_op("(") || (tokens_.peek().kind == TokenKind::name && !tokens_.at_name("in"));
      if (!more) break;
      all.parts.push_back(parse_target(with_attribute));
    }
    return all;
  }

  StatementPtr parse_set() {
    StatementPtr statement = make(StatementKind::set);
    statement->targets.push_back(parse_targets(true));
    if (tokens_.take_op("=")) {
      statement->value = expressions_.parse_tuple();
      end_tag();
      return statement;
    }
    statement->kind = StatementKind::set_block;
    if (tokens_.at_op("|")) statement->value = expressions_.parse_filter_chain(nullptr, true);
    statement->body = parse_body("endset");
    return statement;
  }

  StatementPtr parse_if() {
    StatementPtr statement = make(StatementKind::if_);
    bool more = true;
    while (more) {
      Branch branch;
      branch.condition = expressions_.parse_tuple(false);
      end_tag();
      branch.body = parse_block({"elif", "else", "endif"});
      statement->branches.push_back(std::move(branch));
      const std::string name = tokens_.expect_name();
      more = name == "elif";
      if (name == "else") {
        end_tag();
        Branch last;
        last.body = parse_block({"endif"});
        tokens_.next();
        statement->branches.push_back(std::move(last));
      }
    }
    end_tag();
    return statement;
  }

  StatementPtr parse_for() {
    StatementPtr statement = make(StatementKind::for_);
    statement->targets.push_back(parse_targets(false));
    if (!tokens_.take_name("in")) fail_parse(tokens_.line(), "'in' is expected in a for tag");
    statement->value = expressions_.parse_tuple(false);
    if (tokens_.take_name("if")) statement->condition = expressions_.parse();
    if (tokens_.at_name("recursive")) fail_parse(tokens_.line(), "recursive loops are not supported");
    end_tag();
    ++loops_;
    statement->body = parse_block({"else", "endfor"});
    --loops_;
    if (tokens_.expect_name() == "else") {
      end_tag();
      statement->otherwise = parse_block({"endfor"});
      tokens_.next();
    }
    end_tag();
    return statement;
  }

  StatementPtr parse_macro() {
    StatementPtr statement = make(StatementKind::macro);
    statement->macro.name = tokens_.expect_name();
    tokens_.expect_op("(");
    while (!tokens_.at_op(")")) {
      MacroNode::Parameter parameter;
      parameter.name = tokens_.expect_name();
      if (tokens_.take_op("=")) {
        parameter.default_value = expressions_.parse();
      } else if (!statement->macro.parameters.empty() && statement->macro.parameters.back().default_value) {
        fail_parse(tokens_.line(), "a parameter without a default follows one with a default");
      }
      statement->macro.parameters.push_back(std::move(parameter));
      if (!tokens_.take_op(",")) break;
    }
    tokens_.expect_op(")");
    statement->macro.body = parse_closed_body("endmacro");
    return statement;
  }

  StatementPtr parse_with() {
    StatementPtr statement = make(StatementKind::scope);
    while (tokens_.peek().kind != TokenKind::tag_end) {
      Branch assignment;  // its condition is the value of the target of the same place
      statement->targets.push_back(parse_target(false));
      tokens_.expect_op("=");
      assignment.condition = expressions_.parse();
      statement->branches.push_back(std::move(assignment));
      if (!tokens_.take_op(",")) break;
    }
    statement->body = parse_body("endwith");
    return statement;
  }

  TokenStream tokens_;
  ExpressionParser expressions_;
  int loops_ = 0;
};

}  // namespace

Block parse_template(std::string_view source) {
  if (source.size() > kMaxTemplateBytes)
    fail_parse(1, fmt::format("the template is longer than {} bytes", kMaxTemplateBytes));
  return StatementParser(tokenize(source)).parse_all();
}

}  // namespace echelon::templates
