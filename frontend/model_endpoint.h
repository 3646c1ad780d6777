// The endpoints that a model answers, without HTTP: from a body to what a Generation needs. The server uses them for a
// request, a batch for each of its lines.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "frontend/openai/answer.h"

namespace echelon {

struct ModelEndpoint {
  using Prepare = RequestResult<AnswerSetup> (*)(std::string_view body, std::shared_ptr<const ModelInfo> model);
  using MakeAnswer = std::unique_ptr<Answer> (*)(AnswerSetup setup);
  std::string_view path;
  std::string_view id_prefix;  ///< of an answer's id
  Prepare prepare;             ///< all but id, tenant and created_unix_s
  MakeAnswer make_answer;
};

extern const ModelEndpoint kChatEndpoint, kCompletionsEndpoint, kResponsesEndpoint, kMessagesEndpoint;
extern const ModelEndpoint kEmbeddingsEndpoint, kScoreEndpoint, kRerankEndpoint;

/// An answer that is about to be made: its id, whose it is, and when.
void begin_answer(const ModelEndpoint& endpoint, std::string tenant, AnswerSetup& setup);

/// Prepare, and compile the format of its output: as slow as both. For threads that nobody waits for.
RequestResult<AnswerSetup> prepare_whole(const ModelEndpoint& endpoint, std::string_view body,
                                         std::shared_ptr<const ModelInfo> model);

int64_t unix_seconds();

}  // namespace echelon
