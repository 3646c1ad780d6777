// The sources of the built-in chat templates. Internal to this folder; ChatTemplate::built_in is the public face.
#pragma once

#include <span>
#include <string_view>

namespace echelon::templates {

struct BuiltIn {
  std::string_view name, source;
};

/// Sorted by name.
std::span<const BuiltIn> built_ins();

}  // namespace echelon::templates
