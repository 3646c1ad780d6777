#include "engine/grammar/answer_grammar.h"

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <vector>

#include "engine/grammar/code_points.h"
#include "engine/grammar/grammar.h"
#include "engine/grammar/json_schema.h"

namespace echelon {
namespace {

namespace json = boost::json;

constexpr int kMaxBlanks = 4;  ///< between reasoning and what follows

std::string_view text_of(const json::object& object, std::string_view name) {
  return std::string_view(object.at(name).as_string());
}

class AnswerWriter {
 public:
  AnswerWriter(Expressions& expressions, JsonRules& rules, const json::object& answer, Looseness looseness)
      : e_(expressions), rules_(rules), answer_(answer), looseness_(looseness) {
    any_ = e_.repeat(utf8_of(e_, CodePointSet::all()), 0, kUnbounded);
    ByteSet blanks = ByteSet::single(' ');
    blanks.insert('\n');
    blanks_ = e_.repeat(e_.bytes(blanks), 0, kMaxBlanks);
    if (const json::value* calls = answer.if_contains("calls")) calls_ = &calls->as_object();
    if (const json::value* reasoning = answer.if_contains("reasoning")) reasoning_ = &reasoning->as_object();
    if (const json::value* controls = answer.if_contains("control")) {
      for (const json::value& control : controls->as_array()) controls_.emplace_back(control.as_string());
    }
  }

  ExpressionId write() {
    const ExpressionId body = write_body();
    if (reasoning_ == nullptr) return body;
    const std::string_view begin = text_of(*reasoning_, "begin"), end = text_of(*reasoning_, "end");
    const ExpressionId thought = e_.difference(any_, e_.sequence({any_, e_.literal(end), any_}));
    const ExpressionId behind_begin = e_.sequence({thought, literal(end), blanks_, body});
    if (reasoning_->at("is_open").as_bool()) return behind_begin;
    return e_.choice({e_.sequence({blanks_, literal(begin), behind_begin}), body});
  }

 private:
  /// A text of the description; its control tokens either as such or spelled.
  ExpressionId literal(std::string_view text) {
    std::vector<ExpressionId> parts;
    while (!text.empty()) {
      size_t at = text.npos;
      std::string_view found;
      for (const std::string_view control : controls_) {
        if (text.find(control) >= at) continue;
        at = text.find(control);
        found = control;
      }
      if (at != 0) parts.push_back(e_.literal(text.substr(0, at)));
      if (at == text.npos) break;
      parts.push_back(e_.choice({e_.literal(std::string(1, kControlByte).append(found)), e_.literal(found)}));
      text.remove_prefix(at + found.size());
    }
    return e_.sequence(std::move(parts));
  }

  ExpressionId write_body() {
    const json::value* content = answer_.if_contains("content");
    if (content == nullptr) return write_calls();
    if (!content->is_null()) {
      const json::object& source = content->as_object();
      const auto kind = static_cast<GrammarKind>(source.at("kind").as_int64());
      const RuleId rule =
          grammar_rule(e_, rules_, {.kind = kind, .text = std::string(text_of(source, "text"))}, looseness_);
      return calls_ == nullptr ? e_.rule(rule) : e_.choice({e_.rule(rule), write_calls()});
    }
    const ExpressionId text = free_text();
    if (calls_ == nullptr) return text;
    const bool anywhere = calls_->contains("trigger");
    return anywhere ? e_.sequence({text, e_.optional(write_calls())}) : e_.choice({text, write_calls()});
  }

  /// Neither reasoning nor calls begin in it.
  ExpressionId free_text() {
    std::vector<ExpressionId> taken;
    if (reasoning_ != nullptr) taken.push_back(e_.sequence({blanks_, e_.literal(text_of(*reasoning_, "begin")), any_}));
    if (calls_ != nullptr && calls_->contains("trigger")) {
      taken.push_back(e_.sequence({any_, e_.literal(text_of(*calls_, "trigger")), any_}));
    } else if (calls_ != nullptr) {
      for (const json::value& open : calls_->at("open").as_array()) {
        for (const json::value& tag : calls_->at("tags").as_array()) {
          const std::string begin = std::string(open.as_string()) + std::string(text_of(tag.as_object(), "begin"));
          taken.push_back(e_.sequence({e_.literal(begin), any_}));
        }
      }
    }
    return taken.empty() ? any_ : e_.difference(any_, e_.choice(std::move(taken)));
  }

  ExpressionId write_calls() {
    std::vector<ExpressionId> opens, tags;
    for (const json::value& open : calls_->at("open").as_array())
      opens.push_back(literal(std::string_view(open.as_string())));
    for (const json::value& tag : calls_->at("tags").as_array()) tags.push_back(write_tag(tag.as_object()));
    const RuleId one = e_.add_rule("call");
    e_.define(one, e_.choice(std::move(tags)));
    std::vector<ExpressionId> parts{e_.choice(std::move(opens)), e_.rule(one)};
    if (!calls_->at("only_one").as_bool()) {
      const ExpressionId next = e_.sequence({literal(text_of(*calls_, "separator")), e_.rule(one)});
      parts.push_back(e_.repeat(next, 0, kUnbounded));
    }
    parts.push_back(literal(text_of(*calls_, "close")));
    return e_.sequence(std::move(parts));
  }

  ExpressionId write_tag(const json::object& tag) {
    return e_.sequence({literal(text_of(tag, "begin")), e_.rule(arguments_of(tag)), literal(text_of(tag, "end"))});
  }

  RuleId arguments_of(const json::object& tag) {
    const bool is_strict = tag.at("strict").as_bool();
    if (!is_strict && looseness_ == Looseness::all) return rules_.object_rule();
    try {
      return json_schema_rule(e_, rules_, tag.at("schema"));
    } catch (const GrammarError& error) {
      if (is_strict) throw GrammarError(fmt::format("{}: {}", text_of(tag, "name"), error.what()));
      return rules_.object_rule();
    }
  }

  Expressions& e_;
  JsonRules& rules_;
  const json::object& answer_;
  const Looseness looseness_;
  const json::object* calls_ = nullptr;
  const json::object* reasoning_ = nullptr;
  std::vector<std::string_view> controls_;
  ExpressionId any_ = 0, blanks_ = 0;
};

}  // namespace

RuleId answer_rule(Expressions& expressions, JsonRules& rules, const json::value& description, Looseness looseness) {
  const RuleId rule = expressions.add_rule("answer");
  expressions.define(rule, AnswerWriter(expressions, rules, description.as_object(), looseness).write());
  return rule;
}

}  // namespace echelon
