// Makers of rows: each checks a text and stores it, and prints what is stored as YAML.
#include "launch/option_rows.h"

#include <algorithm>
#include <cctype>

namespace echelon {
namespace {

constexpr size_t kMaxTextLength = 4096;

}  // namespace

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

void check_text(const std::string& text) {
  if (text.empty()) throw BadValue("is empty");
  if (text.size() > kMaxTextLength) throw BadValue(fmt::format("is longer than {} characters", kMaxTextLength));
  if (std::any_of(text.begin(), text.end(), [](unsigned char c) { return std::iscntrl(c) != 0; })) {
    throw BadValue("holds a control character");
  }
}

OptionRow base_row(Words words, OptionShape shape) {
  return {.name = std::move(words.name),
          .short_name = std::move(words.short_name),
          .aliases = std::move(words.aliases),
          .value_name = std::move(words.value_name),
          .help = std::move(words.help),
          .shape = shape,
          .set = nullptr,
          .get = nullptr};
}

OptionRow text(Words words, std::string& target) {
  OptionRow row = base_row(std::move(words), OptionShape::scalar);
  row.set = [=, &target](std::span<const std::string> values) {
    check_text(values.back());
    target = values.back();
  };
  row.get = [&target] { return quoted(target); };
  return row;
}

OptionRow choice(Words words, std::string& target, std::span<const std::string_view> names) {
  OptionRow row = base_row(std::move(words), OptionShape::scalar);
  row.choices.assign(names.begin(), names.end());
  row.set = [=, &target](std::span<const std::string> values) { target = names[parse_choice(values.back(), names)]; };
  row.get = [&target] { return target; };
  return row;
}

OptionRow boolean(Words words, bool& target) {
  OptionRow row = base_row(std::move(words), OptionShape::flag);
  row.set = [=, &target](std::span<const std::string> values) { target = parse_boolean(values.back()); };
  row.get = [&target] { return target ? "true" : "false"; };
  return row;
}

OptionRow bytes(Words words, int64_t& target, Range range) {
  OptionRow row = base_row(std::move(words), OptionShape::scalar);
  row.set = [=, &target](std::span<const std::string> values) { target = parse_bytes(values.back(), range); };
  row.get = [&target] { return fmt::format("{}", target); };
  return row;
}

OptionRow client_key_row(std::string& target) {
  OptionRow row = base_row({.name = "api-key",
                            .value_name = "KEY",
                            .help = "sent to the server, where something in front of it asks for one. Other users of "
                                    "the host can read flags: prefer ECHELON_API_KEY"},
                           OptionShape::list);
  row.set = [&target](std::span<const std::string> values) {
    for (const std::string& value : values) check_text(value);
    target = values.front();
  };
  row.get = [&target] { return target.empty() ? "[]" : "[\"***\"]"; };
  return row;
}

}  // namespace echelon
