#include "engine/grammar/code_points.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>

namespace echelon {
namespace {

constexpr uint32_t kFirstSurrogate = 0xD800, kLastSurrogate = 0xDFFF;

/// Least and greatest code point of each length in UTF-8.
constexpr std::array<CodePointSet::Range, 4> kLengths = {
    {{0, 0x7F}, {0x80, 0x7FF}, {0x800, 0xFFFF}, {0x10000, CodePointSet::kLast}}};

uint8_t utf8_byte(uint32_t point, int length, int index) {
  constexpr std::array<uint32_t, 4> kLead = {0, 0xC0, 0xE0, 0xF0};
  const uint32_t bits = point >> (6 * (length - 1 - index));
  return static_cast<uint8_t>(index > 0 ? 0x80 | (bits & 0x3F) : kLead[static_cast<size_t>(length - 1)] | bits);
}

/// Code points [first, last] that all have `length` bytes: cut until every byte but the first that differs runs through
/// its whole range.
void add_utf8_range(Expressions& expressions, uint32_t first, uint32_t last, int length,
                    std::vector<ExpressionId>& parts) {
  for (int tail = 1; tail < length; ++tail) {
    const uint32_t mask = (uint32_t{1} << (6 * tail)) - 1;
    if ((first & ~mask) == (last & ~mask)) continue;
    if ((first & mask) != 0) {
      add_utf8_range(expressions, first, first | mask, length, parts);
      add_utf8_range(expressions, (first | mask) + 1, last, length, parts);
      return;
    }
    if ((last & mask) != mask) {
      add_utf8_range(expressions, first, (last & ~mask) - 1, length, parts);
      add_utf8_range(expressions, last & ~mask, last, length, parts);
      return;
    }
  }
  std::vector<ExpressionId> bytes;
  for (int i = 0; i < length; ++i)
    bytes.push_back(expressions.bytes(ByteSet::range(utf8_byte(first, length, i), utf8_byte(last, length, i))));
  parts.push_back(expressions.sequence(std::move(bytes)));
}

}  // namespace

void CodePointSet::insert(uint32_t first, uint32_t last) {
  last = std::min(last, kLast);
  if (first > last) return;
  if (first < kFirstSurrogate && last > kLastSurrogate) {
    insert(first, kFirstSurrogate - 1);
    insert(kLastSurrogate + 1, last);
    return;
  }
  if (first >= kFirstSurrogate && first <= kLastSurrogate) first = kLastSurrogate + 1;
  if (last >= kFirstSurrogate && last <= kLastSurrogate) last = kFirstSurrogate - 1;
  if (first > last) return;
  std::vector<Range> merged;
  for (const Range& range : ranges_) {
    if (range.last + 1 < first || range.first > last + 1) {
      merged.push_back(range);
    } else {
      first = std::min(first, range.first);
      last = std::max(last, range.last);
    }
  }
  merged.push_back({.first = first, .last = last});
  std::sort(merged.begin(), merged.end(), [](const Range& a, const Range& b) { return a.first < b.first; });
  ranges_ = std::move(merged);
}

void CodePointSet::insert(const CodePointSet& other) {
  for (const Range& range : other.ranges_) insert(range.first, range.last);
}

CodePointSet CodePointSet::complement() const {
  CodePointSet rest;
  uint32_t next = 0;
  for (const Range& range : ranges_) {
    if (range.first > next) rest.insert(next, range.first - 1);
    next = range.last + 1;
  }
  rest.insert(next, kLast);
  return rest;
}

CodePointSet CodePointSet::without(const CodePointSet& other) const {
  CodePointSet outside = complement();
  outside.insert(other);
  return outside.complement();
}

bool CodePointSet::contains(uint32_t point) const {
  return std::any_of(ranges_.begin(), ranges_.end(),
                     [&](const Range& range) { return range.first <= point && point <= range.last; });
}

ExpressionId utf8_of(Expressions& expressions, const CodePointSet& set) {
  ByteSet ascii;
  std::vector<ExpressionId> parts;
  for (const CodePointSet::Range& range : set.ranges()) {
    for (size_t i = 0; i < kLengths.size(); ++i) {
      const uint32_t first = std::max(range.first, kLengths[i].first), last = std::min(range.last, kLengths[i].last);
      if (first > last) continue;
      if (i == 0) {
        ascii |= ByteSet::range(static_cast<int>(first), static_cast<int>(last));
      } else {
        add_utf8_range(expressions, first, last, static_cast<int>(i) + 1, parts);
      }
    }
  }
  if (!ascii.empty()) parts.push_back(expressions.bytes(ascii));
  return expressions.choice(std::move(parts));
}

ExpressionId json_character(Expressions& expressions, const CodePointSet& set) {
  CodePointSet escaped(0, 0x1F);
  escaped.insert('"');
  escaped.insert('\\');
  std::vector<ExpressionId> parts;
  if (const CodePointSet plain = set.without(escaped); !plain.empty()) parts.push_back(utf8_of(expressions, plain));
  for (const CodePointSet::Range& range : escaped.ranges()) {
    for (uint32_t point = range.first; point <= range.last; ++point) {
      if (!set.contains(point)) continue;
      constexpr std::string_view kShort = "\"\\\b\f\n\r\t", kLetters = "\"\\bfnrt";
      const size_t found = kShort.find(static_cast<char>(point));
      parts.push_back(expressions.literal(found != std::string_view::npos ? std::string{'\\', kLetters[found]}
                                                                          : fmt::format("\\u{:04x}", point)));
    }
  }
  return expressions.choice(std::move(parts));
}

}  // namespace echelon
