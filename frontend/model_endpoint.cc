// The table of what a model answers.
#include "frontend/model_endpoint.h"

#include <chrono>
#include <utility>

#include "frontend/anthropic/messages_answer.h"
#include "frontend/anthropic/messages_request.h"
#include "frontend/embeddings/embeddings_request.h"
#include "frontend/embeddings/score_request.h"
#include "frontend/embeddings/vector_answer.h"
#include "frontend/openai/ids.h"
#include "frontend/openai/output_format.h"
#include "frontend/openai/prepare.h"
#include "frontend/responses/responses_answer.h"
#include "frontend/responses/responses_request.h"

namespace echelon {
namespace {

template <typename Kind>
std::unique_ptr<Answer> make_answer(AnswerSetup setup) {
  return std::make_unique<Kind>(std::move(setup));
}

}  // namespace

const ModelEndpoint kChatEndpoint{"/v1/chat/completions", "chatcmpl-", &prepare_chat, &make_answer<Answer>};
const ModelEndpoint kCompletionsEndpoint{"/v1/completions", "cmpl-", &prepare_completion, &make_answer<Answer>};
const ModelEndpoint kResponsesEndpoint{"/v1/responses", kResponseIdPrefix, &prepare_responses,
                                       &make_answer<ResponsesAnswer>};
const ModelEndpoint kMessagesEndpoint{"/v1/messages", "msg_", &prepare_messages, &make_answer<MessagesAnswer>};
const ModelEndpoint kEmbeddingsEndpoint{"/v1/embeddings", "embd-", &prepare_embeddings, &make_answer<EmbeddingsAnswer>};
const ModelEndpoint kScoreEndpoint{"/score", "score-", &prepare_score, &make_answer<ScoreAnswer>};
const ModelEndpoint kRerankEndpoint{"/rerank", "rerank-", &prepare_rerank, &make_answer<RerankAnswer>};

void begin_answer(const ModelEndpoint& endpoint, std::string tenant, AnswerSetup& setup) {
  const std::string& given = setup.params.request_id;
  setup.id = given.empty() ? random_id(endpoint.id_prefix) : std::string(endpoint.id_prefix) + given;
  setup.tenant = std::move(tenant);
  setup.created_unix_s = unix_seconds();
}

RequestResult<AnswerSetup> prepare_whole(const ModelEndpoint& endpoint, std::string_view body,
                                         std::shared_ptr<const ModelInfo> model) {
  auto setup = endpoint.prepare(body, model);
  if (setup.has_error()) return setup;
  if (auto error = compile_output_format(setup->params, *model)) return std::move(*error);
  return setup;
}

int64_t unix_seconds() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

}  // namespace echelon
