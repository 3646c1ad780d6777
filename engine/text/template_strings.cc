// Searching, splitting, stripping and letter case. Searches are linear in the worst case (memmem); std::string's are
// not, which a hostile conversation could use.
#include "engine/text/template_strings.h"

#include <fmt/format.h>

#include <algorithm>
#include <bitset>
#include <cstring>
#include <set>

#include "engine/text/unicode.h"
#include "engine/text/utf8.h"

namespace echelon::templates {

namespace {

bool is_line_break(char32_t point) {
  return (point >= 0x0a && point <= 0x0d) || (point >= 0x1c && point <= 0x1e) || point == 0x85 || point == 0x2028 ||
         point == 0x2029;
}

std::string reversed(std::string_view text) { return {text.rbegin(), text.rend()}; }

/// Where the code point begins that ends before `end`; end > 0.
size_t point_before(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && end - begin < 4 && (static_cast<unsigned char>(text[begin]) & 0xc0) == 0x80) --begin;
  return begin;
}

std::vector<std::string> split_spaces(Meter& meter, const std::string& text, int64_t limit) {
  std::vector<std::string> parts;
  size_t begin = std::string::npos;
  const auto put = [&](std::string part) {
    meter.charge(kStepsPerText);
    parts.push_back(std::move(part));
  };
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = read_code_point(text, at);
    const bool space = unicode::is_python_space(point.value);
    if (!space && begin == std::string::npos) {
      if (limit >= 0 && static_cast<int64_t>(parts.size()) == limit) {
        put(strip(text.substr(at), nullptr, false, true));
        return parts;
      }
      begin = at;
    } else if (space && begin != std::string::npos) {
      put(text.substr(begin, at - begin));
      begin = std::string::npos;
    }
    at += point.num_bytes;
  }
  if (begin != std::string::npos) put(text.substr(begin));
  return parts;
}

/// rsplit at white space: the last `limit` words, and before them the rest, stripped at its end.
std::vector<std::string> rsplit_spaces(Meter& meter, const std::string& text, int64_t limit) {
  std::vector<std::string> parts;
  std::string rest = strip(text, nullptr, false, true);
  size_t end = rest.size();
  while (end > 0 && (limit < 0 || static_cast<int64_t>(parts.size()) < limit)) {
    size_t begin = end;
    while (begin > 0) {
      const size_t before = point_before(rest, begin);
      if (unicode::is_python_space(read_code_point(rest, before).value)) break;
      begin = before;
    }
    meter.charge(kStepsPerText);
    parts.push_back(rest.substr(begin, end - begin));
    end = begin;
    while (end > 0) {
      const size_t before = point_before(rest, end);
      if (!unicode::is_python_space(read_code_point(rest, before).value)) break;
      end = before;
    }
  }
  if (end > 0) parts.push_back(rest.substr(0, end));
  std::reverse(parts.begin(), parts.end());
  return parts;
}

}  // namespace

size_t find_text(std::string_view text, std::string_view part, size_t from) {
  if (from > text.size()) return std::string::npos;
  if (part.empty()) return from;
  const void* const found = memmem(text.data() + from, text.size() - from, part.data(), part.size());
  return found ? static_cast<size_t>(static_cast<const char*>(found) - text.data()) : std::string::npos;
}

size_t rfind_text(std::string_view text, std::string_view part) {
  const size_t found = find_text(reversed(text), reversed(part), 0);
  return found == std::string::npos ? found : text.size() - found - part.size();
}

int64_t count_text(Meter& meter, std::string_view text, std::string_view part) {
  if (part.empty()) return static_cast<int64_t>(count_code_points(text)) + 1;
  if (part.size() == 1) return std::count(text.begin(), text.end(), part.front());
  int64_t count = 0;
  for (size_t at = find_text(text, part, 0); at != std::string::npos; at = find_text(text, part, at + part.size())) {
    meter.charge(1);
    ++count;
  }
  return count;
}

std::string strip(const std::string& text, const Value* characters, bool left, bool right) {
  const std::string* set = characters ? characters->string() : nullptr;
  if (characters && !set && !characters->is_none()) fail("strip arg must be None or str");
  std::bitset<128> ascii;
  std::set<char32_t> others;
  for (size_t at = 0; set && at < set->size();) {
    const CodePoint point = read_code_point(*set, at);
    if (point.value < ascii.size()) {
      ascii.set(point.value);
    } else {
      others.insert(point.value);
    }
    at += point.num_bytes;
  }
  const auto drops = [&](size_t at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x80) return set ? ascii.test(byte) : unicode::is_python_space(byte);
    const char32_t point = read_code_point(text, at).value;
    if (!set) return unicode::is_python_space(point);
    return others.contains(point);
  };
  size_t begin = 0;
  size_t end = text.size();
  while (left && begin < end && drops(begin)) begin += read_code_point(text, begin).num_bytes;
  while (right && end > begin && drops(point_before(text, end))) end = point_before(text, end);
  return text.substr(begin, end - begin);
}

std::string replace_text(Meter& meter, const std::string& text, const std::string& from, const std::string& to,
                         int64_t count) {
  std::string out;
  size_t done = 0;
  meter.charge_text(text.size() + from.size());
  const auto put = [&](size_t at, size_t skipped) {
    meter.charge_text(to.size());
    out.append(text, done, at - done).append(to);
    done = at + skipped;
    check_text_size(out.size());
  };
  if (from.empty()) {  // before every character, and at the end
    for (size_t at = 0; count != 0; --count) {
      put(at, 0);
      if (at == text.size()) break;
      at += read_code_point(text, at).num_bytes;
    }
  } else {
    for (size_t at = find_text(text, from, 0); at != std::string::npos && count != 0; --count) {
      put(at, from.size());
      at = find_text(text, from, done);
    }
  }
  out.append(text, done);
  check_text_size(out.size());
  return out;
}

std::vector<std::string> split_lines(Meter& meter, const std::string& text, bool keep_ends) {
  std::vector<std::string> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = read_code_point(text, at);
    const size_t end = at;
    at += point.num_bytes;
    if (!is_line_break(point.value)) continue;
    meter.charge(kStepsPerText);
    if (point.value == '\r' && at < text.size() && text[at] == '\n') ++at;
    lines.push_back(text.substr(begin, (keep_ends ? at : end) - begin));
    begin = at;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

std::vector<std::string> split_text(Meter& meter, const std::string& text, const std::optional<std::string>& separator,
                                    int64_t limit, bool from_right) {
  if (!separator) meter.charge_points(text.size());
  if (!separator) return from_right ? rsplit_spaces(meter, text, limit) : split_spaces(meter, text, limit);
  if (separator->empty()) fail("empty separator");
  // From the right is from the left in a mirror.
  const std::string mirrored = from_right ? reversed(text) : std::string();
  const std::string sep = from_right ? reversed(*separator) : *separator;
  const std::string& searched = from_right ? mirrored : text;
  std::vector<std::string> parts;
  size_t begin = 0;
  const auto put = [&](size_t end) {
    meter.charge(kStepsPerText);
    parts.push_back(from_right ? text.substr(text.size() - end, end - begin) : text.substr(begin, end - begin));
  };
  while (limit < 0 || static_cast<int64_t>(parts.size()) < limit) {
    const size_t found = find_text(searched, sep, begin);
    if (found == std::string::npos) break;
    put(found);
    begin = found + sep.size();
  }
  put(searched.size());
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::string capitalize(const std::string& text) {
  if (text.empty()) return text;
  const CodePoint first = read_code_point(text, 0);
  // In lower case as a whole, since a sigma looks at its neighbours; then the first letter is written anew.
  std::string first_lower = unicode::to_lower(text.substr(0, first.num_bytes));
  std::string out;
  unicode::append_title(out, first.value);
  return out + unicode::to_lower(text).substr(first_lower.size());
}

std::string title_filter(const std::string& text) {
  std::string out;
  size_t begin = 0;  // of the word at hand
  const auto put_word = [&](size_t end) {
    if (begin == end) return;
    const size_t first = read_code_point(text, begin).num_bytes;
    out += unicode::to_upper(text.substr(begin, first));
    out += unicode::to_lower(text.substr(begin + first, end - begin - first));
  };
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = read_code_point(text, at);
    const bool breaks = unicode::is_python_space(point.value) ||
                        (point.value < 0x80 &&
                         std::string_view("-({[<").find(static_cast<char>(point.value)) != std::string_view::npos);
    if (breaks) {
      put_word(at);
      out.append(text, at, point.num_bytes);
      begin = at + point.num_bytes;
    }
    at += point.num_bytes;
  }
  put_word(text.size());
  return out;
}

std::string title_method(const std::string& text) {
  std::string out;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = read_code_point(text, at);
    const bool cased = unicode::has_case(point.value);
    if (inside) {
      out += unicode::to_lower(text.substr(at, point.num_bytes));
    } else {
      unicode::append_title(out, point.value);
    }
    inside = cased;
    at += point.num_bytes;
  }
  return out;
}

std::string swap_case(const std::string& text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t length = read_code_point(text, at).num_bytes;
    const std::string letter = text.substr(at, length);
    const std::string lower = unicode::to_lower(letter);
    out += lower != letter ? lower : unicode::to_upper(letter);
    at += length;
  }
  return out;
}

bool is_cased_as(const std::string& text, bool upper) {
  const std::string folded = upper ? unicode::to_upper(text) : unicode::to_lower(text);
  return folded == text && (upper ? unicode::to_lower(text) : unicode::to_upper(text)) != text;
}

bool is_title(const std::string& text) {
  bool inside = false;
  bool any = false;
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = read_code_point(text, at);
    const std::string letter = text.substr(at, point.num_bytes);
    if (unicode::has_case(point.value)) {
      const bool capital = unicode::to_lower(letter) != letter;
      if (capital == inside) return false;
      inside = any = true;
    } else {
      inside = false;
    }
    at += point.num_bytes;
  }
  return any;
}

std::string escape_html(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  check_text_size(out.size());
  return out;
}

std::string justify(Meter& meter, const std::string& text, int64_t width, const std::string& fill, int side) {
  if (count_code_points(fill) != 1) fail("The fill character must be exactly one character long");
  const int64_t missing = width - static_cast<int64_t>(count_code_points(text));
  if (missing <= 0) return text;
  if (static_cast<uint64_t>(missing) > kMaxTextBytes) check_text_size(kMaxTextBytes + 1);
  const auto padding = static_cast<size_t>(missing);
  check_text_size(text.size() + padding * fill.size());
  meter.charge_text(padding * fill.size());
  // The odd one goes where CPython's str.center puts it.
  const size_t left = side < 0 ? 0 : side > 0 ? padding : padding / 2 + (padding & static_cast<size_t>(width) & 1);
  std::string out;
  for (size_t i = 0; i < left; ++i) out += fill;
  out += text;
  for (size_t i = left; i < padding; ++i) out += fill;
  return out;
}

std::string_view sub_text(std::string_view text, int64_t begin, int64_t end) {
  const bool counted = begin < 0 || end < 0;
  const int64_t length = counted ? static_cast<int64_t>(count_code_points(text)) : 0;
  if (begin < 0) begin = std::max<int64_t>(begin + length, 0);
  if (end < 0) end = std::max<int64_t>(end + length, 0);
  size_t from = 0;
  int64_t place = 0;
  for (; place < begin && from < text.size(); ++place) from += read_code_point(text, from).num_bytes;
  size_t to = from;
  for (; place < end && to < text.size(); ++place) to += read_code_point(text, to).num_bytes;
  return text.substr(from, to - from);
}

}  // namespace echelon::templates
