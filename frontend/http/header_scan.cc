// Byte by byte: a header is short, and is looked at once however it comes.
#include "frontend/http/header_scan.h"

namespace echelon {

HeaderScan::Result HeaderScan::refuse(std::string_view fault) {
  fault_ = fault;
  return Result::refused;
}

HeaderScan::Result HeaderScan::next(std::string_view bytes) {
  for (; at_ < bytes.size(); ++at_) {
    const auto c = static_cast<unsigned char>(bytes[at_]);
    const bool behind_cr = at_ > line_ && bytes[at_ - 1] == '\r';
    if (c == '\n') {
      if (!behind_cr) return refuse("a line ends without CR");
      const bool is_empty = at_ == line_ + 1;
      if (is_empty && line_ > begin_) {
        ++at_;
        return Result::complete;
      }
      if (is_empty && begin_ > 0) return refuse("there is no request line");
      line_ = at_ + 1;
      if (is_empty) begin_ = line_;
      continue;
    }
    if (behind_cr) return refuse("there is a CR without LF");
    if (c == '\r') continue;
    if ((c == ' ' || c == '\t') && at_ == line_) return refuse("a line begins with white space");
    if ((c < 0x20 && c != '\t') || c == 0x7f) return refuse("there is a control character");
  }
  return Result::incomplete;
}

}  // namespace echelon
