// Functions that a client offers the model to call. Plain data; the readers of each API fill it.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <string>
#include <vector>

namespace echelon {

inline constexpr size_t kMaxTools = 128;
inline constexpr size_t kMaxToolName = 128;  ///< bytes

struct Tool {
  std::string name;                ///< of letters, digits and _.:/-
  boost::json::object parameters;  ///< the JSON schema of an object
  bool strict = false;             ///< a schema that cannot be enforced is an error, not any object
  std::string parameter;           ///< where its schema came in, for errors: "tools[0].function.parameters"
};

enum class ToolChoice { none, automatic, required };

struct ToolSet {
  std::vector<Tool> tools;  ///< those that may be called
  boost::json::array told;  ///< all of them, as chat templates take them: {"type": "function", "function": {..}}
  ToolChoice choice = ToolChoice::automatic;
  bool parallel = true;  ///< several calls in one answer
  /// With ToolChoice::none the model is not told of them, either.
  void drop_unless_callable() {
    if (choice != ToolChoice::none) return;
    tools.clear();
    told.clear();
  }
};

}  // namespace echelon
