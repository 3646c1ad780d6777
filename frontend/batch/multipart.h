// Bodies of multipart/form-data (RFC 7578), strictly: what a client may leave out or two parsers may read differently
// is refused. The parts are views into the body.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/request_error.h"

namespace echelon {

struct FormPart {
  std::string name;
  std::optional<std::string> file_name;  ///< as the client has it: a label, not a path
  std::string_view content;
};

inline constexpr size_t kMaxFormParts = 16;
inline constexpr size_t kMaxFormPartHeaderBytes = 8 << 10;
inline constexpr size_t kMaxFileNameBytes = 255;

/// `content_type`: the field of the request's header. 400 for anything but parts with different names behind one
/// another, each with a Content-Disposition.
RequestResult<std::vector<FormPart>> parse_form(std::string_view content_type, std::string_view body);

}  // namespace echelon
