#include "engine/grammar/gbnf.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>

#include "engine/grammar/code_points.h"
#include "engine/text/utf8.h"

namespace echelon {
namespace {

constexpr int kMaxGroups = 200;
constexpr int kMaxRepeat = 100'000;

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

class Parser {
 public:
  Parser(Expressions& expressions, std::string_view text) : expressions_(expressions), text_(text) {}

  RuleId parse() {
    skip_space();
    while (!at_end()) {
      const std::string name(take_name());
      if (name.empty()) fail("expected the name of a rule");
      skip_space();
      if (!take("::=")) fail(fmt::format("expected ::= after \"{}\"", name));
      const RuleId rule = rule_of(name);
      if (expressions_.body(rule) >= 0) fail(fmt::format("rule \"{}\" is there twice", name));
      skip_space();
      expressions_.define(rule, alternatives());
    }
    const auto root = rules_.find("root");
    if (root == rules_.end()) throw GrammarError("grammar: there is no rule \"root\"");
    for (const auto& [name, rule] : rules_) {
      if (expressions_.body(rule) < 0) throw GrammarError(fmt::format("grammar: rule \"{}\" is not defined", name));
    }
    return root->second;
  }

 private:
  [[noreturn]] void fail(std::string_view what) const {
    const auto line = 1 + std::count(text_.begin(), text_.begin() + static_cast<ptrdiff_t>(at_), '\n');
    throw GrammarError(fmt::format("grammar, line {}: {}", line, what));
  }
  bool at_end() const { return at_ >= text_.size(); }
  bool looking_at(std::string_view text) const { return text_.substr(at_).starts_with(text); }
  bool take(std::string_view text) {
    if (!looking_at(text)) return false;
    at_ += text.size();
    return true;
  }
  void skip_space() {
    while (!at_end()) {
      if (text_[at_] == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) {
        ++at_;
      } else {
        return;
      }
    }
  }
  std::string_view take_name() {
    const size_t start = at_;
    while (!at_end() && is_name_character(text_[at_])) ++at_;
    return text_.substr(start, at_ - start);
  }
  /// A name that is followed by ::= begins the next rule.
  bool at_next_rule() {
    const size_t start = at_;
    const bool is_rule = !take_name().empty() && (skip_space(), looking_at("::="));
    at_ = start;
    return is_rule;
  }
  RuleId rule_of(const std::string& name) {
    const auto found = rules_.find(name);
    return found != rules_.end() ? found->second : rules_[name] = expressions_.add_rule(name);
  }

  ExpressionId alternatives() {
    std::vector<ExpressionId> parts;
    do {
      skip_space();
      parts.push_back(sequence());
    } while (take("|"));
    return expressions_.choice(std::move(parts));
  }

  ExpressionId sequence() {
    std::vector<ExpressionId> parts;
    while (!at_end() && !looking_at("|") && !looking_at(")") && !at_next_rule()) {
      parts.push_back(repeated(element()));
      skip_space();
    }
    return expressions_.sequence(std::move(parts));
  }

  ExpressionId element() {
    if (take("\"")) return literal();
    if (take("[")) return char_class();
    if (take(".")) return utf8_of(expressions_, CodePointSet::all());
    if (take("(")) {
      if (++depth_ > kMaxGroups) fail("too many groups in each other");
      const ExpressionId inside = alternatives();
      if (!take(")")) fail("the group does not end");
      --depth_;
      return inside;
    }
    const std::string name(take_name());
    if (name.empty()) fail("expected a literal, a class, a group or the name of a rule");
    return expressions_.rule(rule_of(name));
  }

  ExpressionId repeated(ExpressionId part) {
    while (true) {
      const size_t before = at_;
      skip_space();
      if (take("*")) {
        part = expressions_.repeat(part, 0, kUnbounded);
      } else if (take("+")) {
        part = expressions_.repeat(part, 1, kUnbounded);
      } else if (take("?")) {
        part = expressions_.repeat(part, 0, 1);
      } else if (take("{")) {
        const int min = number().value_or(0);
        skip_space();
        const int max = take(",") ? number().value_or(kUnbounded) : min;
        skip_space();
        if (!take("}")) fail("expected {m}, {m,}, {,n} or {m,n}");
        if (max != kUnbounded && max < min) fail("the least number of repetitions is above the greatest");
        part = expressions_.repeat(part, min, max);
      } else {
        at_ = before;
        return part;
      }
    }
  }

  std::optional<int> number() {
    skip_space();
    std::optional<int> value;
    for (; !at_end() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      value = value.value_or(0) * 10 + (text_[at_] - '0');
      if (*value > kMaxRepeat) fail(fmt::format("more than {} repetitions", kMaxRepeat));
    }
    return value;
  }

  /// A character of a literal or a class.
  uint32_t character() {
    if (at_end()) fail("a literal or class does not end");
    if (!take("\\")) {
      const CodePoint point = read_code_point(text_, at_);
      if (!point.valid) fail("not UTF-8");
      at_ += point.num_bytes;
      return point.value;
    }
    const char c = at_end() ? '\0' : text_[at_++];
    switch (c) {
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 't':
        return '\t';
      case 'x':
        return hexadecimal(2);
      case 'u':
        return hexadecimal(4);
      case 'U':
        return hexadecimal(8);
      default:
        break;
    }
    if (std::string_view("\\\"'[]-^/").find(c) == std::string_view::npos) fail("this escape is not supported");
    return static_cast<uint8_t>(c);
  }

  uint32_t hexadecimal(int num_digits) {
    uint32_t value = 0;
    for (int i = 0; i < num_digits; ++i, ++at_) {
      const char c = at_end() ? '\0' : text_[at_];
      const size_t digit = std::string_view("0123456789abcdefABCDEF").find(c);
      if (c == '\0' || digit == std::string_view::npos) fail("not a hexadecimal digit");
      value = value * 16 + static_cast<uint32_t>(digit < 16 ? digit : digit - 6);
    }
    if (value > CodePointSet::kLast || (value >= 0xD800 && value <= 0xDFFF)) fail("not a code point");
    return value;
  }

  ExpressionId literal() {
    std::string bytes;
    while (!take("\"")) append_utf8(bytes, character());
    return expressions_.literal(bytes);
  }

  ExpressionId char_class() {
    const bool negated = take("^");
    CodePointSet set;
    while (!take("]")) {
      const uint32_t first = character();
      uint32_t last = first;
      if (looking_at("-") && !looking_at("-]")) {
        ++at_;
        last = character();
        if (last < first) fail("not a range");
      }
      set.insert(first, last);
    }
    return utf8_of(expressions_, negated ? set.complement() : set);
  }

  Expressions& expressions_;
  std::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
  std::map<std::string, RuleId> rules_;
};

}  // namespace

RuleId parse_gbnf(Expressions& expressions, std::string_view text) { return Parser(expressions, text).parse(); }

}  // namespace echelon
