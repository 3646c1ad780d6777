// What the template tests share with render_templates, the program that the fuzz script drives.
#pragma once

#include <boost/json.hpp>
#include <ctime>
#include <string>

#include "engine/text/chat_template.h"
#include "kernels/base/error.h"

namespace echelon::test {

/// Of [year, month, day, hour, minute, second, day of the week from Monday, day of the year], as Python has them.
inline std::tm broken_down_time(const boost::json::value& fields) {
  const auto field = [&](size_t i) { return static_cast<int>(fields.at(i).as_int64()); };
  std::tm time{};
  time.tm_year = field(0) - 1900;
  time.tm_mon = field(1) - 1;
  time.tm_mday = field(2);
  time.tm_hour = field(3);
  time.tm_min = field(4);
  time.tm_sec = field(5);
  time.tm_wday = (field(6) + 1) % 7;
  time.tm_yday = field(7) - 1;
  return time;
}

/// {"text"}, {"raised"} with the message of raise_exception, {"error"} or {"bad_syntax"}, as make_templates.py writes.
inline boost::json::object rendered(const std::string& source, const ChatInput& input) {
  try {
    const auto text = ChatTemplate::parse(source).render(input);
    if (text.has_value()) return {{"text", *text}};
    return {{text.error().raised ? "raised" : "error", text.error().message}};
  } catch (const Error& error) {
    return {{"bad_syntax", error.what()}};
  }
}

}  // namespace echelon::test
