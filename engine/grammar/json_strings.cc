#include "engine/grammar/json_strings.h"

#include <fmt/format.h>

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <map>
#include <utility>

#include "engine/grammar/code_points.h"
#include "engine/grammar/regex.h"

namespace echelon {
namespace {

constexpr int64_t kMaxLength = 100'000;

/// RFC 3339 for dates and times, 5321 for addresses, 1123, 2673, 4291, 4122, 3986: of each the common part, which every
/// validator takes.
std::map<std::string, std::string> make_formats() {
  const std::string days =
      "(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8])";
  const std::string leap_year = "([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)";
  const std::string date = fmt::format("([0-9]{{4}}-({})|{}-02-29)", days, leap_year);
  const std::string clock = "([01][0-9]|2[0-3]):[0-5][0-9]";
  const std::string time = fmt::format("{0}:[0-5][0-9](\\.[0-9]{{1,9}})?(Z|[+-]{0})", clock);
  const std::string count = "[0-9]{1,4}";
  const std::string hours = fmt::format("T({0}H({0}M({0}S)?)?|{0}M({0}S)?|{0}S)", count);
  const std::string period = fmt::format("({0}Y({0}M({0}D)?)?|{0}M({0}D)?|{0}D)", count);
  const std::string label = "[a-zA-Z0-9](-?[a-zA-Z0-9]){0,24}";
  const std::string word = "[a-zA-Z0-9_+-]{1,16}";
  const std::string byte = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
  const std::string hex = "[0-9a-fA-F]", group = hex + "{1,4}";
  const std::string path_character = fmt::format("([a-zA-Z0-9._~:@!$&'()*+,;=-]|%{}{{2}})", hex);
  const std::string behind_path = fmt::format("({}|[/?])*", path_character);
  return {
      {"date", date},
      {"time", time},
      {"date-time", fmt::format("{}T{}", date, time)},
      {"duration", fmt::format("P({0}W|{1}({2})?|{2})", count, period, hours)},
      {"email", fmt::format("{0}(\\.{0}){{0,2}}@{1}(\\.{1}){{0,2}}\\.[a-zA-Z]{{2,12}}", word, label)},
      {"hostname", fmt::format("{0}(\\.{0}){{0,4}}", label)},
      {"ipv4", fmt::format("{0}(\\.{0}){{3}}", byte)},
      {"ipv6", fmt::format("(({0}:){{7}}{0}|({0}:){{1,6}}:{0}|::({0}(:{0}){{0,5}})?)", group)},
      {"uuid", fmt::format("{0}{{8}}-{0}{{4}}-{0}{{4}}-{0}{{4}}-{0}{{12}}", hex)},
      {"uri",
       fmt::format("[a-zA-Z][a-zA-Z0-9+.-]{{1,15}}://{0}(\\.{0}){{0,4}}(:[1-9][0-9]{{0,3}})?(/{1}*)*(\\?{2})?(#{2})?",
                   label, path_character, behind_path)},
  };
}

const std::string& pattern_of(const std::string& format) {
  static const std::map<std::string, std::string> formats = make_formats();
  if (const auto found = formats.find(format); found != formats.end()) return found->second;
  std::string known;
  for (const auto& [name, pattern] : formats) known += (known.empty() ? "" : ", ") + name;
  throw GrammarError(fmt::format("schema: format \"{}\" cannot be enforced; known are {}", format, known));
}

/// One character between quotes, in any spelling that a JSON parser takes.
ExpressionId string_character(Expressions& e) {
  const auto digits = [&](std::string_view first, std::string_view others) {
    std::vector<ExpressionId> parts;
    for (const std::string_view set : {first, others}) {
      ByteSet bytes;
      for (const char c : set) bytes.insert(static_cast<uint8_t>(c));
      parts.push_back(e.bytes(bytes));
    }
    return e.sequence(std::move(parts));
  };
  constexpr std::string_view kHex = "0123456789abcdefABCDEF", kDecimal = "01234567";
  const ExpressionId two = digits(kHex, kHex);
  const ExpressionId plain_unit =  // not a surrogate
      e.sequence({e.choice({digits("0123456789abcefABCEF", kHex), digits("dD", kDecimal)}), two});
  const ExpressionId pair = e.sequence({digits("dD", "89abAB"), two, e.literal("\\u"), digits("dD", "cdefCDEF"), two});
  ByteSet letters;
  for (const char c : std::string_view("\"\\/bfnrt")) letters.insert(static_cast<uint8_t>(c));
  CodePointSet plain(' ', CodePointSet::kLast), special('"');
  special.insert('\\');
  return e.choice(
      {utf8_of(e, plain.without(special)),
       e.sequence({e.literal("\\"),
                   e.choice({e.bytes(letters), e.sequence({e.literal("u"), e.choice({plain_unit, pair})})})})});
}

}  // namespace

ExpressionId any_string(Expressions& e) {
  return e.sequence({e.literal("\""), e.repeat(string_character(e), 0, kUnbounded), e.literal("\"")});
}

ExpressionId limited_string(Expressions& e, const StringLimits& limits) {
  std::vector<ExpressionId> all;
  if (limits.min_length > 0 || limits.max_length != kUnbounded) {
    if (std::max(limits.min_length, limits.max_length) > kMaxLength)
      throw GrammarError(fmt::format("schema: minLength and maxLength are supported up to {}", kMaxLength));
    if (limits.max_length != kUnbounded && limits.max_length < limits.min_length) return e.nothing();
    all.push_back(e.repeat(json_character(e, CodePointSet::all()), static_cast<int>(limits.min_length),
                           static_cast<int>(limits.max_length)));
  }
  for (const std::string& pattern : limits.patterns)
    all.push_back(parse_regex(e, pattern, RegexText::json_string, RegexMatch::search));
  for (const std::string& format : limits.formats)
    all.push_back(parse_regex(e, pattern_of(format), RegexText::json_string, RegexMatch::whole));
  if (all.empty()) return any_string(e);
  ExpressionId inside = all.front();
  for (size_t i = 1; i < all.size(); ++i) inside = e.intersection(inside, all[i]);
  return e.sequence({e.literal("\""), inside, e.literal("\"")});
}

std::string quoted(std::string_view text) { return boost::json::serialize(boost::json::value(text)); }

}  // namespace echelon
