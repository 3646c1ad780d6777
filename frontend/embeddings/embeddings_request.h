// POST /v1/embeddings: a body to prompts whose hidden states are pooled. OpenAI's members, and vLLM's for those OpenAI
// does not have.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "frontend/embeddings/vector_use.h"
#include "frontend/openai/answer.h"
#include "frontend/openai/completion_request.h"
#include "frontend/openai/json_reader.h"

namespace echelon {

inline constexpr size_t kMaxInputs = 2048;  ///< as OpenAI has it; LangChain sends a thousand

struct EmbeddingsRequest {
  GenerationParams params;
  VectorUse use;
  std::vector<PromptInput> inputs;
  bool add_special_tokens = true;
};
void read_embeddings_request(JsonReader& reader, const ModelInfo& model, EmbeddingsRequest& request);

/// All but id, tenant and created_unix_s.
RequestResult<AnswerSetup> prepare_embeddings(std::string_view body, std::shared_ptr<const ModelInfo> model);

/// What /v1/embeddings, /score and /rerank share: model, pooling and how texts become tokens.
void read_pooled_params(JsonReader& reader, const ModelInfo& model, GenerationParams& params, bool& add_special_tokens);

}  // namespace echelon
