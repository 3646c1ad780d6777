// The shape of the generated Unicode tables (make_unicode_tables.py writes their contents).
// Internal to this folder: everyone else asks unicode.h.
#pragma once

#include <cstdint>
#include <span>

namespace echelon::unicode {

struct Range {
  char32_t first, last;  ///< inclusive
};

/// Code points first, first + step, ..., last map to themselves plus delta.
struct CaseRun {
  char32_t first, last;
  int32_t step, delta;
};

/// One code point that maps to two or three; unused ones are 0.
struct CaseSpecial {
  char32_t from, to[3];
};

struct CombiningRange {
  char32_t first, last;
  int32_t combining_class;
};

/// Canonical decomposition, one level; second is 0 for a singleton. Hangul is computed, not listed.
struct Decomposition {
  char32_t composed, first, second;
};

/// Primary composites: composition exclusions are left out.
struct Composition {
  char32_t first, second, composed;
};

extern const std::span<const Range> kLetters, kNumbers, kDecimals, kDigits, kNumerics, kNotPrintable;
extern const std::span<const CaseRun> kUpper, kLower;
extern const std::span<const CaseSpecial> kUpperSpecial, kLowerSpecial, kTitleSpecial;
extern const std::span<const CombiningRange> kCombining;
extern const std::span<const Decomposition> kDecompositions;
extern const std::span<const Composition> kCompositions;

}  // namespace echelon::unicode
