// A request's header as bytes, before anything parses them: where it ends, and whether all parsers see the same lines.
#pragma once

#include <cstddef>
#include <string_view>

namespace echelon {

/// Refuses, as soon as it is there: CR without LF and LF without CR, a line that begins with white space (folded
/// fields, RFC 9112 section 5.2), control characters, NUL among them. One empty line before the request line is skipped
/// (section 2.2).
class HeaderScan {
 public:
  enum class Result { incomplete, complete, refused };

  /// `bytes`: all that has come, from the request's first byte on; again with more of them while it is incomplete.
  Result next(std::string_view bytes);

  size_t begin() const { return begin_; }                ///< of the request line
  size_t end() const { return at_; }                     ///< complete: of the header; else: how far it was looked at
  bool line_complete() const { return line_ > begin_; }  ///< the request line has ended
  std::string_view fault() const { return fault_; }      ///< of what was refused

 private:
  Result refuse(std::string_view fault);

  size_t begin_ = 0;
  size_t line_ = 0;  ///< where the line that is looked at begins
  size_t at_ = 0;
  std::string_view fault_;
};

}  // namespace echelon
