// A text inside a JSON string, written as Boost.JSON's serializer writes it, without making a value first.
#pragma once

#include <string>
#include <string_view>

namespace echelon {

/// Appends `text`, which is valid UTF-8, escaped; without the quotes around it.
void append_json_string(std::string& out, std::string_view text);

}  // namespace echelon
