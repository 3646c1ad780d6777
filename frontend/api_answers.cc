// The endpoints that a model answers: a body becomes a Generation, and that a stream or one body. With --journal a
// stream whose client or server was lost goes on.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/this_coro.hpp>
#include <utility>

#include "frontend/api.h"
#include "frontend/generation.h"
#include "frontend/openai/output_format.h"
#include "frontend/refusals.h"
#include "kernels/base/check.h"

namespace echelon {
namespace {

namespace asio = boost::asio;

constexpr std::array kStreaming{&kChatEndpoint, &kCompletionsEndpoint, &kResponsesEndpoint, &kMessagesEndpoint};

/// What was drawn at random for a stream, and when it began, is so again.
std::optional<RequestError> restore(const StoredStream& stored, AnswerSetup& setup) {
  if (setup.model->fingerprint != stored.fingerprint || setup.prompts.size() != stored.prompts.size())
    return http_refusal(409,
                        "the stream was begun by a server with another model or another arithmetic, which would go on "
                        "with another text",
                        "stream_of_another_model");
  const auto is_token = [&](TokenId token) { return token >= 0 && token < setup.model->vocab_size; };
  const auto are_tokens = [&](const std::vector<TokenId>& tokens) { return std::ranges::all_of(tokens, is_token); };
  if (!std::ranges::all_of(stored.prompts, are_tokens) ||
      !std::ranges::all_of(stored.choices, are_tokens, &StoredChoice::tokens))
    return http_refusal(409, "the stream is damaged: it has tokens that the model does not have", "stream_damaged");
  setup.id = stored.id;
  setup.tenant = stored.tenant;
  setup.created_unix_s = stored.began_unix_ms / 1000;
  setup.params.sampling.seed = stored.seed;
  setup.params.seed = static_cast<int64_t>(stored.seed);
  for (size_t i = 0; i < setup.prompts.size(); ++i) setup.prompts[i].tokens = stored.prompts[i];
  return std::nullopt;
}

RequestError no_such_stream(std::string_view id) {
  return http_refusal(404,
                      fmt::format("there is no stream '{}' to go on with: it is not this key's, or was begun too long "
                                  "ago (--journal-keep-s)",
                                  shortened(id)),
                      "stream_not_found");
}

}  // namespace

asio::awaitable<HttpResponse> Api::chat(HttpRequest request) { return generate(std::move(request), kChatEndpoint); }

asio::awaitable<HttpResponse> Api::completions(HttpRequest request) {
  return generate(std::move(request), kCompletionsEndpoint);
}

asio::awaitable<HttpResponse> Api::responses(HttpRequest request) {
  return generate(std::move(request), kResponsesEndpoint);
}

asio::awaitable<HttpResponse> Api::messages(HttpRequest request) {
  return generate(std::move(request), kMessagesEndpoint);
}

asio::awaitable<HttpResponse> Api::embeddings(HttpRequest request) {
  return generate(std::move(request), kEmbeddingsEndpoint);
}

asio::awaitable<HttpResponse> Api::score(HttpRequest request) { return generate(std::move(request), kScoreEndpoint); }

asio::awaitable<HttpResponse> Api::rerank(HttpRequest request) { return generate(std::move(request), kRerankEndpoint); }

asio::awaitable<RequestResult<AnswerSetup>> Api::prepare(const ModelEndpoint& endpoint, const std::string& body) {
  const auto model = loaded_model();
  if (model.has_error()) co_return model.error();
  auto work = [&] { return endpoint.prepare(body, *model); };
  auto setup = co_await text_work(is_large(body), work);
  if (setup.has_error()) co_return setup;
  auto compile = [&] { return compile_output_format(setup->params, **model); };
  const bool is_new = !is_output_format_compiled(setup->params, **model);
  if (auto error = co_await text_work(is_new, compile)) co_return std::move(*error);
  co_return setup;
}

asio::awaitable<HttpResponse> Api::generate(HttpRequest request, const ModelEndpoint& endpoint) {
  if (journal_ != nullptr && !request.last_event_id.empty()) {
    const auto event = EventId::parse(request.last_event_id);
    std::string id(event ? event->stream : std::string_view());
    co_return co_await resume_stream(std::move(request), endpoint, std::move(id));
  }
  auto setup = co_await prepare(endpoint, request.body);
  if (setup.has_error()) co_return refusal(setup.error());
  begin_answer(endpoint, request.tenant, *setup);
  std::unique_ptr<ResumableStream> stream;
  if (journal_ != nullptr && setup->params.stream) {
    stream =
        std::make_unique<ResumableStream>(*journal_, stream_to_store(*setup, endpoint.path, std::move(request.body)),
                                          EventPosition(num_choices(*setup)), *setup);
  }
  co_return co_await begin(std::move(request), endpoint, std::move(*setup), std::move(stream));
}

asio::awaitable<HttpResponse> Api::resume(HttpRequest request) {
  const auto asked = std::find_if(kStreaming.begin(), kStreaming.end(), [&](const ModelEndpoint* endpoint) {
    return request.path.starts_with(fmt::format("{}/", endpoint->path));
  });
  ECHELON_CHECK(asked != kStreaming.end());
  if (journal_ == nullptr) {
    co_return refusal(
        http_refusal(404, "this server keeps no streams; it was started without --journal", "journal_disabled"));
  }
  std::string id = request.argument;
  co_return co_await resume_stream(std::move(request), **asked, std::move(id));
}

asio::awaitable<HttpResponse> Api::resume_stream(HttpRequest request, const ModelEndpoint& endpoint, std::string id) {
  const auto event = EventId::parse(request.last_event_id);
  if (!request.last_event_id.empty() && (!event || event->stream != id))
    co_return refusal(http_refusal(
        400, fmt::format("Last-Event-ID '{}' is not of an event of this stream", shortened(request.last_event_id)),
        "invalid_event_id"));
  auto find = [&] { return journal_->find(id, request.tenant); };
  auto stored = co_await offload(journal_->thread(), find);
  if (!stored || stored->path != endpoint.path) co_return refusal(no_such_stream(id));
  auto setup = co_await prepare(endpoint, stored->body);
  if (setup.has_error()) co_return refusal(setup.error());
  if (const auto error = restore(*stored, *setup)) co_return refusal(*error);
  const size_t choices = num_choices(*setup);
  const auto seen = event ? EventPosition::parse(event->position, choices) : EventPosition(choices);
  if (!seen)
    co_return refusal(http_refusal(400, "Last-Event-ID has not the counts of this stream", "invalid_event_id"));
  stored->body.clear();
  auto stream = std::make_unique<ResumableStream>(*journal_, std::move(*stored), *seen, *setup);
  co_return co_await begin(std::move(request), endpoint, std::move(*setup), std::move(stream));
}

asio::awaitable<HttpResponse> Api::begin(HttpRequest request, const ModelEndpoint& endpoint, AnswerSetup setup,
                                         std::unique_ptr<ResumableStream> stream) {
  const bool streams = setup.params.stream;
  const auto strand = co_await asio::this_coro::executor;
  ResumableStream* const kept = stream.get();
  auto generation = std::make_unique<Generation>(engine_, endpoint.make_answer(std::move(setup)), options_,
                                                 request.record, strand, std::move(stream));
  if (const auto error = generation->submit()) co_return refusal(*error);
  charge(*request.record);
  if (kept != nullptr && kept->stored().number == 0) {  // beside the prefill; nothing is sent before
    auto write = [&] { return journal_->begin(kept->stored()); };
    kept->set_number(co_await offload(journal_->thread(), write));
  }
  if (streams) {
    HttpResponse response;
    response.content_type = "text/event-stream; charset=utf-8";
    response.fields.emplace_back("Cache-Control", "no-cache");
    response.fields.emplace_back("X-Accel-Buffering", "no");
    response.source = std::move(generation);
    co_return response;
  }
  const auto body = co_await generation->whole();
  if (body.has_error()) co_return refusal(body.error());
  co_return json_response(*body);
}

}  // namespace echelon
