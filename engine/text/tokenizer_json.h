// Helpers of the tokenizer.json reader, shared by its files: fields with errors that name them, and the steps before
// the model. Internal to this folder.
#pragma once

#include <boost/json.hpp>
#include <string>
#include <string_view>

#include "engine/text/tokenizer_parts.h"
#include "kernels/base/error.h"

namespace echelon {

inline constexpr size_t kMaxTokenizerJsonBytes = size_t{1} << 28;  ///< Gemma 3's has 33 MB
inline constexpr size_t kMaxTokenizerJsonDepth = 32;
inline constexpr size_t kMaxSteps = 64;  ///< normalizers or pre-tokenizers in a sequence

/// Throws Error(Part::text, "tokenizer.json: WHERE WHAT").
[[noreturn]] void fail_json(std::string_view where, std::string_view what);
/// Throws with the position when the text is not JSON.
boost::json::value parse_json(std::string_view text, std::string_view file);
const boost::json::value& json_field(const boost::json::object& fields, std::string_view name, std::string_view where);
std::string json_string(const boost::json::object& fields, std::string_view name, std::string_view where);
/// A boolean; `absent` when the field is missing or null.
bool json_flag(const boost::json::object& fields, std::string_view name, bool absent, std::string_view where);

struct JsonSteps {
  bool byte_level = false;  ///< tokens are spelled in GPT-2's byte alphabet
};

/// Reads "normalizer", "pre_tokenizer" and "decoder" into the parts.
JsonSteps read_json_steps(TokenizerParts& parts, const boost::json::object& root);

}  // namespace echelon
