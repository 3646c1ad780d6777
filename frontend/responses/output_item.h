// One item of a response's output: reasoning, a message, or the call of a function. Pure.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <string>
#include <string_view>

namespace echelon {

struct OutputItem {
  enum class Kind { reasoning, message, function_call };

  Kind kind = Kind::message;
  std::string id;
  std::string text;  ///< so far; of a call: its arguments
  boost::json::array logprobs;
  std::string call_id, name;  ///< of a call

  /// As the response has it. With `begun` as it is before anything of it has come.
  boost::json::object json(std::string_view status, bool begun = false) const;
  /// Its content's one part. Calls have none.
  boost::json::object part(bool begun = false) const;
};

/// "rs_", "msg_" or "fc_".
std::string_view id_prefix(OutputItem::Kind kind);

}  // namespace echelon
