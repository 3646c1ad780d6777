// Start-up, file and transport faults: typed exceptions, tagged with the part that speaks.
// Bad requests are values, not exceptions: engine/request_error.h. Our own bugs: check.h.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace echelon {

/// The part of Echelon that found the fault; printed as a prefix of the message.
enum class Part { weights, text, model, engine, kernels, parallel, frontend, launch };

std::string_view to_string(Part part);

/// what() is "part: message". The message names the file, field, flag or rank at fault and what would be right.
class Error : public std::runtime_error {
 public:
  Error(Part part, const std::string& message);
  Part part() const { return part_; }

 private:
  Part part_;
};

}  // namespace echelon
