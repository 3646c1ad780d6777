// POST /score (vLLM's) and /rerank (Jina's and Cohere's): how near texts are to each other. The models served here have
// no head that classifies, so a score is the cosine of two embeddings, as in vLLM for models that embed.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "frontend/openai/answer.h"
#include "frontend/openai/json_reader.h"

namespace echelon {

inline constexpr size_t kMaxScoredTexts = 1024;  ///< of one list

struct ScoreRequest {
  GenerationParams params;
  std::vector<std::string> first, second;
  bool add_special_tokens = true;
};
void read_score_request(JsonReader& reader, const ModelInfo& model, ScoreRequest& request);

struct RerankRequest {
  GenerationParams params;
  std::string query;
  std::vector<std::string> documents;
  std::optional<int64_t> top_n;
  bool add_special_tokens = true, return_documents = true;
};
void read_rerank_request(JsonReader& reader, const ModelInfo& model, RerankRequest& request);

/// text_1 and text_2, one to one, one to many, or many to as many. All but id, tenant and created_unix_s.
RequestResult<AnswerSetup> prepare_score(std::string_view body, std::shared_ptr<const ModelInfo> model);

/// A query and documents.
RequestResult<AnswerSetup> prepare_rerank(std::string_view body, std::shared_ptr<const ModelInfo> model);

}  // namespace echelon
