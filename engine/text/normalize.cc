// Normal form C: decompose canonically, order the marks by combining class, compose again.
// Method: Unicode Standard Annex 15; Hangul by arithmetic as in The Unicode Standard, chapter 3.12.
#include <algorithm>
#include <vector>

#include "engine/text/unicode.h"
#include "engine/text/unicode_tables.h"
#include "engine/text/utf8.h"

namespace echelon::unicode {

namespace {

constexpr char32_t kHangulS = 0xac00, kHangulL = 0x1100, kHangulV = 0x1161, kHangulT = 0x11a7;
constexpr char32_t kNumL = 19, kNumV = 21, kNumT = 28, kNumS = kNumL * kNumV * kNumT;

struct Mark {
  char32_t point;
  int combining_class;
};

int combining_class(char32_t point) {
  if (point < 0x300) return 0;
  const auto after = std::upper_bound(kCombining.begin(), kCombining.end(), point,
                                      [](char32_t value, const CombiningRange& row) { return value < row.first; });
  if (after == kCombining.begin()) return 0;
  const CombiningRange& row = *(after - 1);
  return point <= row.last ? row.combining_class : 0;
}

void append_decomposed(std::vector<Mark>& out, char32_t point) {
  if (point >= kHangulS && point < kHangulS + kNumS) {
    const char32_t index = point - kHangulS;
    out.push_back({kHangulL + index / (kNumV * kNumT), 0});
    out.push_back({kHangulV + index % (kNumV * kNumT) / kNumT, 0});
    if (index % kNumT != 0) out.push_back({kHangulT + index % kNumT, 0});
    return;
  }
  const auto row = std::lower_bound(kDecompositions.begin(), kDecompositions.end(), point,
                                    [](const Decomposition& d, char32_t value) { return d.composed < value; });
  if (row == kDecompositions.end() || row->composed != point) {
    out.push_back({point, combining_class(point)});
    return;
  }
  append_decomposed(out, row->first);  // the tables' chains are at most four long
  if (row->second != 0) append_decomposed(out, row->second);
}

/// 0 when the two do not compose.
char32_t compose(char32_t first, char32_t second) {
  if (first >= kHangulL && first < kHangulL + kNumL && second >= kHangulV && second < kHangulV + kNumV) {
    return kHangulS + ((first - kHangulL) * kNumV + (second - kHangulV)) * kNumT;
  }
  if (first >= kHangulS && first < kHangulS + kNumS && (first - kHangulS) % kNumT == 0 && second > kHangulT &&
      second < kHangulT + kNumT) {
    return first + (second - kHangulT);
  }
  const auto row = std::lower_bound(kCompositions.begin(), kCompositions.end(), std::pair(first, second),
                                    [](const Composition& c, const std::pair<char32_t, char32_t>& wanted) {
                                      return std::pair(c.first, c.second) < wanted;
                                    });
  return row != kCompositions.end() && row->first == first && row->second == second ? row->composed : 0;
}

void order_marks(std::vector<Mark>& points) {
  for (size_t begin = 0; begin < points.size();) {
    if (points[begin].combining_class == 0) {
      ++begin;
      continue;
    }
    size_t end = begin;
    while (end < points.size() && points[end].combining_class != 0) ++end;
    std::stable_sort(points.begin() + static_cast<std::ptrdiff_t>(begin),
                     points.begin() + static_cast<std::ptrdiff_t>(end),
                     [](const Mark& a, const Mark& b) { return a.combining_class < b.combining_class; });
    begin = end;
  }
}

void compose_all(std::vector<Mark>& points) {
  size_t written = 0;
  size_t starter = SIZE_MAX;  // the place in the output of the last starter
  for (const Mark mark : points) {
    // What stands between the starter and this mark blocks it when its class is as high, or is a starter itself.
    const bool adjacent = starter != SIZE_MAX && written == starter + 1;
    const bool blocked =
        !adjacent && starter != SIZE_MAX && points[written - 1].combining_class >= mark.combining_class;
    if (starter != SIZE_MAX && !blocked) {
      if (const char32_t composed = compose(points[starter].point, mark.point); composed != 0) {
        points[starter].point = composed;
        continue;
      }
    }
    if (mark.combining_class == 0) starter = written;
    points[written++] = mark;
  }
  points.resize(written);
}

/// Below U+0300 nothing moves. From there on the slow path decides.
bool is_plain(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0xcc; });
}

void append_composed(std::string& out, std::vector<Mark>& points) {
  order_marks(points);
  compose_all(points);
  for (const Mark& mark : points) append_utf8(out, mark.point);
  points.clear();
}

}  // namespace

std::string normalize_nfc(std::string_view text) {
  if (is_plain(text)) return std::string(text);
  std::string out;
  out.reserve(text.size());
  std::vector<Mark> points;
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = read_code_point(text, at);
    if (point.valid) {
      append_decomposed(points, point.value);
    } else {  // broken bytes keep their place
      append_composed(out, points);
      out.append(text, at, point.num_bytes);
    }
    at += point.num_bytes;
  }
  append_composed(out, points);
  return out;
}

}  // namespace echelon::unicode
