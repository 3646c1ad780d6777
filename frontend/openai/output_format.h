// What an answer has to be a text of: response_format as OpenAI has it, structured_outputs and guided_* as vLLM has
// them.
#pragma once

#include <optional>
#include <string_view>

#include "frontend/openai/generation_params.h"
#include "frontend/openai/json_reader.h"

namespace echelon {

/// structured_outputs and guided_*
void read_structured_outputs(JsonReader& reader, GenerationParams& params);

/// response_format: {"type": "text" | "json_object" | "json_schema", "json_schema": {"name", "schema", ..}}
void read_response_format(JsonReader& reader, GenerationParams& params);

/// The same as /v1/responses has it, as the member "format" of `text`: name and schema stand beside the type.
void read_text_format(JsonReader& text, GenerationParams& params);

/// Makes params.grammar of params.format. Up to 0.25 s of work where the cache does not have it. An error names the
/// parameter it came in.
std::optional<RequestError> compile_output_format(GenerationParams& params, const ModelInfo& model);
/// No work: the cache has it, or there is none.
bool is_output_format_compiled(const GenerationParams& params, const ModelInfo& model);

}  // namespace echelon
