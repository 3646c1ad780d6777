#include "engine/grammar/json_schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <map>

#include "engine/grammar/automaton.h"
#include "engine/grammar/code_points.h"
#include "engine/grammar/configurations.h"
#include "engine/grammar/regex.h"
#include "engine/grammar/schema_reader.h"

namespace echelon {
namespace {

using boost::json::value;

bool is_scalar(const value& given) { return !given.is_array() && !given.is_object(); }

class SchemaWriter {
 public:
  SchemaWriter(Expressions& expressions, JsonRules& rules, const value& document)
      : e_(expressions), rules_(rules), reader_(document) {}

  RuleId root(const SchemaSet& schemas) {
    const RuleId root = e_.add_rule("root");
    e_.define(root, write(schemas));
    return root;
  }

  /// One text for a value, but for the space in it.
  ExpressionId literal(const value& given) {
    if (given.is_number()) return e_.literal(text_of(decimal_of(given)));
    if (is_scalar(given)) return e_.literal(boost::json::serialize(given));
    std::vector<ExpressionId> parts;
    const auto add = [&](ExpressionId item) {
      if (!parts.empty()) parts.push_back(rules_.comma());
      parts.push_back(e_.sequence({item, rules_.space()}));
    };
    if (given.is_array()) {
      for (const value& each : given.get_array()) add(literal(each));
      return rules_.brackets('[', e_.sequence(std::move(parts)), ']');
    }
    for (const auto& [name, each] : given.get_object()) add(rules_.member(e_.literal(quoted(name)), literal(each)));
    return rules_.brackets('{', e_.sequence(std::move(parts)), '}');
  }

  ExpressionId scalars(const SchemaBranch& branch) {
    std::vector<ExpressionId> parts;
    if ((branch.types & kNull) != 0) parts.push_back(e_.literal("null"));
    if ((branch.types & kBoolean) != 0) parts.push_back(e_.choice({e_.literal("true"), e_.literal("false")}));
    if ((branch.types & kNumber) != 0) parts.push_back(number(branch.number));
    if ((branch.types & kString) != 0)
      parts.push_back(branch.string.has_any() ? limited_string(e_, branch.string) : rules_.string());
    return e_.choice(std::move(parts));
  }

 private:
  /// What a $ref leads to is a rule, which ends recursion and writes shared parts once.
  ExpressionId write(const SchemaSet& schemas) {
    if (schemas.empty()) return rules_.value();
    if (!SchemaReader::has_reference(schemas)) return write_in_place(schemas);
    return in_rule(schemas);
  }

  ExpressionId in_rule(const SchemaSet& schemas) {
    SchemaSet key = schemas;
    std::sort(key.begin(), key.end());
    const auto [found, is_new] = rule_of_.try_emplace(std::move(key), 0);
    if (!is_new) return e_.rule(found->second);
    const RuleId rule = found->second = e_.add_rule(fmt::format("schema {}", rule_of_.size()));
    if (++depth_ > kMaxDepth) throw GrammarError("schema: too many schemas inside of each other");
    e_.define(rule, write_in_place(schemas));
    --depth_;
    return e_.rule(rule);
  }

  ExpressionId write_in_place(const SchemaSet& schemas) {
    std::vector<ExpressionId> parts;
    for (const SchemaBranch& branch : reader_.branches(schemas)) parts.push_back(write_branch(branch));
    return e_.choice(std::move(parts));
  }

  ExpressionId write_branch(const SchemaBranch& branch) {
    if (branch.values) return listed(branch);
    std::vector<ExpressionId> parts;
    if ((branch.types & kObject) != 0) parts.push_back(object(branch));
    if ((branch.types & kArray) != 0) parts.push_back(array(branch));
    parts.push_back(scalars(branch));
    return e_.choice(std::move(parts));
  }

  /// Those of the listed values that the other keywords allow.
  ExpressionId listed(const SchemaBranch& branch) {
    std::vector<ExpressionId> parts;
    for (const value& each : *branch.values) {
      if (allows(branch, each)) parts.push_back(literal(each));
    }
    return e_.choice(std::move(parts));
  }

  static bool allows(const SchemaBranch& branch, const value& given) {
    if (given.is_array()) {
      const bool limited = !branch.prefix_items.empty() || !branch.items.empty() || branch.no_more_items ||
                           branch.min_items > 0 || branch.max_items != kUnbounded;
      if (limited) throw GrammarError("schema: \"enum\" or \"const\" of arrays beside other keywords of arrays");
      return (branch.types & kArray) != 0;
    }
    if (given.is_object()) {
      const bool limited = !branch.properties.empty() || !branch.required.empty() || branch.no_additional ||
                           branch.additional || branch.min_properties > 0 || branch.max_properties != kUnbounded;
      if (limited) throw GrammarError("schema: \"enum\" or \"const\" of objects beside other keywords of objects");
      return (branch.types & kObject) != 0;
    }
    if (given.is_number() && !contains(branch.number, decimal_of(given))) return false;
    if (given.is_number() && !branch.number.multiple_of) return (branch.types & kNumber) != 0;
    if (given.is_string() && !branch.string.has_any()) return (branch.types & kString) != 0;
    Expressions expressions;
    JsonRules rules(expressions);
    SchemaWriter writer(expressions, rules, given);
    const RuleId root = expressions.add_rule("scalar");
    expressions.define(root, expressions.intersection(writer.scalars(branch), writer.literal(given)));
    try {
      build_automaton(expressions, root);
      return true;
    } catch (const NoTextError&) {
      return false;
    }
  }

  ExpressionId number(const NumberRange& range) {
    const bool any = !range.integer && !range.least && !range.greatest && !range.multiple_of;
    return any ? rules_.number() : number_in(e_, range);
  }

  ExpressionId array(const SchemaBranch& branch) {
    const auto num_prefix = static_cast<int64_t>(branch.prefix_items.size());
    int64_t max = branch.max_items;
    if (branch.no_more_items && (max == kUnbounded || max > num_prefix)) max = num_prefix;
    if (max != kUnbounded && max < branch.min_items) return e_.nothing();
    if (std::max(max, branch.min_items) > kMaxCount)
      throw GrammarError(fmt::format("schema: minItems and maxItems are supported up to {}", kMaxCount));
    const bool repeats = branch.min_items > 1 || (max != kUnbounded && max > 1);
    const auto more_item = [&] {
      return repeats && !branch.items.empty() ? in_rule(branch.items) : write(branch.items);
    };
    if (num_prefix == 0)
      return rules_.list('[', max == 0 ? e_.empty() : more_item(), ']', static_cast<int>(branch.min_items),
                         static_cast<int>(max));
    // From the last to the first: an item and what may follow it.
    const int64_t most_more = max == kUnbounded ? kUnbounded : std::max<int64_t>(max - num_prefix, 0);
    ExpressionId rest = most_more == 0
                            ? e_.empty()
                            : e_.repeat(e_.sequence({rules_.comma(), more_item(), rules_.space()}),
                                        static_cast<int>(std::max<int64_t>(branch.min_items - num_prefix, 0)),
                                        static_cast<int>(most_more));
    for (int64_t i = num_prefix - 1; i >= 0; --i) {
      if (max != kUnbounded && i >= max) continue;
      std::vector<ExpressionId> parts;
      if (i > 0) parts.push_back(rules_.comma());
      parts.insert(parts.end(), {write(branch.prefix_items[static_cast<size_t>(i)]), rules_.space(), rest});
      rest = e_.sequence(std::move(parts));
      if (i >= branch.min_items) rest = e_.optional(rest);
    }
    return rules_.brackets('[', rest, ']');
  }

  struct Member {
    ExpressionId text = 0;  ///< key and value, and the space behind them
    bool required = false;
  };

  ExpressionId object(const SchemaBranch& branch) {
    if (says_nothing(branch)) return rules_.object();
    auto listed = branch.properties;
    for (const std::string& name : branch.required) {
      const bool is_listed =
          std::any_of(listed.begin(), listed.end(), [&](const auto& each) { return each.first == name; });
      if (is_listed) continue;
      if (!branch.pattern_properties.empty())
        throw GrammarError(
            "schema: a \"required\" property that is not in \"properties\", beside \"patternProperties\"");
      if (branch.no_additional) return e_.nothing();
      listed.emplace_back(name, branch.additional.value_or(SchemaSet{}));
    }
    const std::optional<ExpressionId> extra = extra_member(branch, listed);
    check_counts(branch, listed.size(), extra.has_value());
    if (listed.empty()) {
      if (!extra) return branch.min_properties > 0 ? e_.nothing() : rules_.brackets('{', e_.empty(), '}');
      return rules_.list('{', *extra, '}', static_cast<int>(branch.min_properties),
                         static_cast<int>(branch.max_properties));
    }
    // Up to the first one that has to be there any may be the first to be written, so what follows each is a rule.
    const auto first_required = std::find_if(listed.begin(), listed.end(),
                                             [&](const auto& each) { return branch.required.contains(each.first); });
    const auto num_firsts = first_required - listed.begin();
    std::vector<Member> members;
    for (const auto& [name, schemas] : listed) {
      ExpressionId text = e_.sequence({rules_.member(e_.literal(quoted(name)), write(schemas)), rules_.space()});
      if (num_firsts > 0 && static_cast<ptrdiff_t>(members.size()) <= num_firsts) text = as_rule(text);
      members.push_back({.text = text, .required = branch.required.contains(name)});
    }
    return rules_.brackets('{', in_order(members, static_cast<size_t>(num_firsts), extra), '}');
  }

  /// Members from the first to the last with commas between those that are there.
  ExpressionId in_order(const std::vector<Member>& members, size_t num_firsts, std::optional<ExpressionId> extra) {
    const ExpressionId more =
        extra ? e_.repeat(e_.sequence({rules_.comma(), *extra, rules_.space()}), 0, kUnbounded) : e_.empty();
    std::vector<ExpressionId> behind(members.size() + 1);  // [i]: what follows when some member before i was written
    behind[members.size()] = extra && num_firsts > 0 ? as_rule(more) : more;
    for (size_t i = members.size(); i-- > 1;) {
      const ExpressionId member = e_.sequence({rules_.comma(), members[i].text});
      behind[i] = e_.sequence({members[i].required ? member : e_.optional(member), behind[i + 1]});
      if (num_firsts > 0 && i <= num_firsts + 1) behind[i] = as_rule(behind[i]);
    }
    if (num_firsts == 0) return e_.sequence({members[0].text, behind[1]});
    std::vector<ExpressionId> firsts;
    for (size_t i = 0; i < std::min(num_firsts + 1, members.size()); ++i)
      firsts.push_back(e_.sequence({members[i].text, behind[i + 1]}));
    if (num_firsts == members.size()) {
      if (extra) firsts.push_back(e_.sequence({*extra, rules_.space(), more}));
      firsts.push_back(e_.empty());
    }
    return e_.choice(std::move(firsts));
  }

  static bool says_nothing(const SchemaBranch& branch) {
    return branch.properties.empty() && branch.required.empty() && branch.pattern_properties.empty() &&
           !branch.no_additional && (!branch.additional || branch.additional->empty()) &&
           branch.property_names.empty() && branch.min_properties == 0 && branch.max_properties == kUnbounded;
  }

  static void check_counts(const SchemaBranch& branch, size_t num_listed, bool has_extra) {
    if (std::max(branch.min_properties, branch.max_properties) > kMaxCount)
      throw GrammarError(fmt::format("schema: minProperties and maxProperties are supported up to {}", kMaxCount));
    const bool least_holds = branch.min_properties <= static_cast<int64_t>(branch.required.size());
    const bool most_holds = branch.max_properties == kUnbounded ||
                            (!has_extra && branch.max_properties >= static_cast<int64_t>(num_listed));
    if (num_listed == 0 && (branch.max_properties == kUnbounded || branch.max_properties >= branch.min_properties))
      return;
    if (!least_holds || !most_holds)
      throw GrammarError("schema: minProperties and maxProperties cannot be enforced beside \"properties\"");
  }

  using Listed = std::vector<std::pair<std::string, SchemaSet>>;

  /// A member that is not listed, where one may be there.
  std::optional<ExpressionId> extra_member(const SchemaBranch& branch, const Listed& listed) {
    const bool has_lists = !listed.empty() || !branch.pattern_properties.empty();
    const bool open = !branch.no_additional && (branch.additional || !has_lists);
    if (!open && branch.pattern_properties.empty()) return std::nullopt;
    const SchemaSet others = branch.additional.value_or(SchemaSet{});
    if (!has_lists && branch.property_names.empty()) return rules_.member(rules_.string(), write(others));
    // Keys without escapes, so that a name has one spelling.
    CodePointSet plain(' ', CodePointSet::kLast);
    plain = plain.without(CodePointSet('"')).without(CodePointSet('\\'));
    ExpressionId key = e_.repeat(utf8_of(e_, plain), 0, kUnbounded);
    std::vector<ExpressionId> names;
    for (const auto& [name, schemas] : listed) {
      const std::string spelled = quoted(name);
      names.push_back(e_.literal(std::string_view(spelled).substr(1, spelled.size() - 2)));
    }
    if (!names.empty()) key = e_.difference(key, e_.choice(std::move(names)));
    const auto between_quotes = [&](ExpressionId inside) {
      return e_.sequence({e_.literal("\""), inside, e_.literal("\"")});
    };
    std::vector<ExpressionId> members;
    std::vector<ExpressionId> patterns;
    for (const auto& [pattern, schemas] : branch.pattern_properties)
      patterns.push_back(parse_regex(e_, pattern, RegexText::json_string, RegexMatch::search));
    for (size_t i = 0; i < patterns.size(); ++i) {  // a key that two of them match is not written
      ExpressionId mine = e_.intersection(key, patterns[i]);
      for (size_t k = 0; k < patterns.size(); ++k) {
        if (k != i) mine = e_.difference(mine, patterns[k]);
      }
      members.push_back(rules_.member(named(between_quotes(mine), branch), write(branch.pattern_properties[i].second)));
    }
    if (open) {
      for (const ExpressionId pattern : patterns) key = e_.difference(key, pattern);
      members.push_back(rules_.member(named(between_quotes(key), branch), write(others)));
    }
    return e_.choice(std::move(members));
  }

  /// The key as propertyNames allows it.
  ExpressionId named(ExpressionId key, const SchemaBranch& branch) {
    return branch.property_names.empty() ? key : e_.intersection(key, write(branch.property_names));
  }

  ExpressionId as_rule(ExpressionId body) {
    const RuleId rule = e_.add_rule("part");
    e_.define(rule, body);
    return e_.rule(rule);
  }

  static constexpr int64_t kMaxCount = 10'000;
  static constexpr int kMaxDepth = 200;
  int depth_ = 0;  ///< rules being written
  Expressions& e_;
  JsonRules& rules_;
  SchemaReader reader_;
  std::map<SchemaSet, RuleId> rule_of_;
};

}  // namespace

RuleId json_schema_rule(Expressions& expressions, JsonRules& rules, const value& schema) {
  SchemaSet set;
  if (!(schema.is_bool() && schema.get_bool())) set.push_back(&schema);
  return SchemaWriter(expressions, rules, schema).root(set);
}

}  // namespace echelon
