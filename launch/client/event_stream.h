// Server-sent events out of the bytes of a body, however they are cut. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace echelon {

class EventStream {
 public:
  /// The data of the events that these bytes complete, lines of one joined. Comments and names are left out. Throws
  /// Error(Part::launch) for a line of more than kMaxLineBytes.
  std::vector<std::string> feed(std::string_view bytes);

  static constexpr size_t kMaxLineBytes = size_t{16} << 20;

 private:
  std::string line_, data_;
  bool has_data_ = false;
};

}  // namespace echelon
