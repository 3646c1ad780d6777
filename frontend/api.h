// The endpoints: what each answers, behind keys and limits. Which paths they have is in routes.cc.
#pragma once

#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <boost/json/object.hpp>
#include <memory>
#include <string>
#include <string_view>

#include "engine/engine.h"
#include "frontend/access/api_keys.h"
#include "frontend/access/rate_limits.h"
#include "frontend/access/request_log.h"
#include "frontend/http/message.h"
#include "frontend/http/offload.h"
#include "frontend/http/options.h"
#include "frontend/metrics/http_metrics.h"
#include "frontend/model_endpoint.h"

namespace echelon {

class BatchService;
class Journal;
class ResumableStream;

HttpResponse json_response(const boost::json::object& body, int status = 200);

/// Any io thread, for several sessions at once. `keys`, `log`, `engine`, `metrics` and the pool must outlive it.
class Api final : public RequestHandler {
 public:
  /// `log` may be null.
  Api(const ServerOptions& options, const KeyRing& keys, RequestLog* log, Engine& engine, const HttpMetrics& metrics);
  /// Before the first request. For bodies above ServerOptions::inline_body_bytes.
  void set_text_pool(boost::asio::thread_pool& pool) { text_pool_ = &pool; }
  /// Before the first request. Without, the endpoints of files and batches answer 404. It must outlive this.
  void set_batches(BatchService& batches) { batches_ = &batches; }
  /// Before the first request. Without, streams are not kept. It must outlive this.
  void set_journal(Journal& journal) { journal_ = &journal; }
  /// From now on everything but health, metrics and version is refused with 503.
  void drain() { draining_.store(true); }

  boost::asio::awaitable<HttpResponse> handle(HttpRequest request) override;
  HttpResponse refusal(const RequestError& error, std::string_view path) const override;
  size_t body_limit(const HttpRequest& header) const override;
  void finished(RequestRecord& record) override;

  /// A route's function.
  using Endpoint = boost::asio::awaitable<HttpResponse> (Api::*)(HttpRequest request);
  boost::asio::awaitable<HttpResponse> chat(HttpRequest request);
  boost::asio::awaitable<HttpResponse> completions(HttpRequest request);
  boost::asio::awaitable<HttpResponse> tokenize(HttpRequest request);
  boost::asio::awaitable<HttpResponse> detokenize(HttpRequest request);
  boost::asio::awaitable<HttpResponse> tokenizer_info(HttpRequest request);
  boost::asio::awaitable<HttpResponse> apply_template(HttpRequest request);
  boost::asio::awaitable<HttpResponse> load(HttpRequest request);
  boost::asio::awaitable<HttpResponse> reset_prefix_cache(HttpRequest request);
  boost::asio::awaitable<HttpResponse> responses(HttpRequest request);
  boost::asio::awaitable<HttpResponse> messages(HttpRequest request);
  boost::asio::awaitable<HttpResponse> embeddings(HttpRequest request);
  boost::asio::awaitable<HttpResponse> score(HttpRequest request);
  boost::asio::awaitable<HttpResponse> rerank(HttpRequest request);
  boost::asio::awaitable<HttpResponse> resume(HttpRequest request);
  boost::asio::awaitable<HttpResponse> count_tokens(HttpRequest request);
  boost::asio::awaitable<HttpResponse> models(HttpRequest request);
  boost::asio::awaitable<HttpResponse> one_model(HttpRequest request);
  boost::asio::awaitable<HttpResponse> create_file(HttpRequest request);
  boost::asio::awaitable<HttpResponse> list_files(HttpRequest request);
  boost::asio::awaitable<HttpResponse> one_file(HttpRequest request);
  boost::asio::awaitable<HttpResponse> file_content(HttpRequest request);
  boost::asio::awaitable<HttpResponse> delete_file(HttpRequest request);
  boost::asio::awaitable<HttpResponse> create_batch(HttpRequest request);
  boost::asio::awaitable<HttpResponse> list_batches(HttpRequest request);
  boost::asio::awaitable<HttpResponse> one_batch(HttpRequest request);
  boost::asio::awaitable<HttpResponse> cancel_batch(HttpRequest request);
  boost::asio::awaitable<HttpResponse> openapi(HttpRequest request);
  boost::asio::awaitable<HttpResponse> docs(HttpRequest request);
  boost::asio::awaitable<HttpResponse> live(HttpRequest request);
  boost::asio::awaitable<HttpResponse> ready(HttpRequest request);
  boost::asio::awaitable<HttpResponse> metrics(HttpRequest request);
  boost::asio::awaitable<HttpResponse> pipeline(HttpRequest request);
  boost::asio::awaitable<HttpResponse> version(HttpRequest request);

 private:
  boost::asio::awaitable<HttpResponse> route(HttpRequest request);
  HttpResponse refusal(const RequestError& error) const { return refusal(error, ""); }
  HttpResponse options_answer(const HttpRequest& request, std::string allow) const;
  void add_cors(const std::string& origin, HttpResponse& response) const;
  /// Whose key it is; nobody's when none is asked for.
  RequestResult<ApiKey> owner_of(const HttpRequest& request) const;
  /// Charges the key what the request has used since the last time.
  void charge(RequestRecord& record);
  /// The endpoint behind the key's limits; their state stands in the answer's header.
  boost::asio::awaitable<HttpResponse> limited(Endpoint endpoint, HttpRequest request, KeyLimits limits);
  RequestResult<std::shared_ptr<const ModelInfo>> loaded_model() const;

  bool is_large(std::string_view body) const { return body.size() > options_.inline_body_bytes; }
  /// On a text thread when it is much.
  template <typename Function>
  boost::asio::awaitable<std::invoke_result_t<Function&>> text_work(bool is_much, Function function) {
    if (!is_much || text_pool_ == nullptr) co_return function();
    co_return co_await offload(*text_pool_, std::move(function));
  }
  template <typename Work>
  boost::asio::awaitable<HttpResponse> with_batches(Work work);
  using AnswerText = RequestResult<boost::json::object> (*)(std::string_view body, const ModelInfo& model);
  boost::asio::awaitable<HttpResponse> answer_text(HttpRequest request, AnswerText answer);
  boost::asio::awaitable<HttpResponse> generate(HttpRequest request, const ModelEndpoint& endpoint);
  /// All that a body says, or why it cannot be answered.
  boost::asio::awaitable<RequestResult<AnswerSetup>> prepare(const ModelEndpoint& endpoint, const std::string& body);
  /// From the event on that Last-Event-ID names, or `id`'s first.
  boost::asio::awaitable<HttpResponse> resume_stream(HttpRequest request, const ModelEndpoint& endpoint,
                                                     std::string id);
  boost::asio::awaitable<HttpResponse> begin(HttpRequest request, const ModelEndpoint& endpoint, AnswerSetup setup,
                                             std::unique_ptr<ResumableStream> stream);

  const ServerOptions options_;
  const KeyRing& keys_;
  RateLimits limits_;
  RequestLog* const log_;
  Engine& engine_;
  const HttpMetrics& metrics_;
  boost::asio::thread_pool* text_pool_ = nullptr;
  BatchService* batches_ = nullptr;
  Journal* journal_ = nullptr;
  std::atomic<bool> draining_{false};
};

}  // namespace echelon
