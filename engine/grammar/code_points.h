// Sets of Unicode code points, and how they are written: as UTF-8, or inside a JSON string.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/grammar/expression.h"

namespace echelon {

/// Ranges in order that do not touch. Surrogates belong to no set.
class CodePointSet {
 public:
  static constexpr uint32_t kLast = 0x10FFFF;

  CodePointSet() = default;
  explicit CodePointSet(uint32_t point) { insert(point); }
  CodePointSet(uint32_t first, uint32_t last) { insert(first, last); }
  static CodePointSet all() { return {0, kLast}; }

  void insert(uint32_t first, uint32_t last);
  void insert(uint32_t point) { insert(point, point); }
  void insert(const CodePointSet& other);
  CodePointSet complement() const;
  CodePointSet without(const CodePointSet& other) const;
  bool contains(uint32_t point) const;
  bool empty() const { return ranges_.empty(); }

  struct Range {
    uint32_t first = 0, last = 0;
  };
  const std::vector<Range>& ranges() const { return ranges_; }

 private:
  std::vector<Range> ranges_;
};

/// One character of the set in UTF-8.
ExpressionId utf8_of(Expressions& expressions, const CodePointSet& set);

/// One character of the set as it stands in a JSON string. Control characters, quote and backslash are escaped, with
/// the short form where there is one; nothing else is.
ExpressionId json_character(Expressions& expressions, const CodePointSet& set);

}  // namespace echelon
