// Keys, CORS, and the endpoints. Errors of every endpoint leave through refusal().
#include "frontend/api.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/this_coro.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <utility>
#include <vector>

#include "frontend/anthropic/messages_request.h"
#include "frontend/batch/service.h"
#include "frontend/journal/journal.h"
#include "frontend/metrics/exposition.h"
#include "frontend/metrics/pipeline_body.h"
#include "frontend/openai/bodies.h"
#include "frontend/openai/prepare.h"
#include "frontend/openai/tokenize_request.h"
#include "frontend/openapi/document.h"
#include "frontend/refusals.h"
#include "frontend/routes.h"

namespace echelon {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;

constexpr int kLoadingRetryS = 2, kDrainingRetryS = 5;

constexpr std::string_view kMessages = "/v1/messages";  ///< Anthropic's, with its errors

}  // namespace

HttpResponse json_response(const json::object& body, int status) {
  HttpResponse response;
  response.status = status;
  response.body = json::serialize(body);
  return response;
}

Api::Api(const ServerOptions& options, const KeyRing& keys, RequestLog* log, Engine& engine, const HttpMetrics& metrics)
    : options_(options), keys_(keys), log_(log), engine_(engine), metrics_(metrics) {}

HttpResponse Api::refusal(const RequestError& error, std::string_view path) const {
  const json::object body = path.starts_with(kMessages) ? messages_error_body(error) : error_body(error);
  HttpResponse response = json_response(body, error.http_status);
  response.refused = error;
  const bool later = error.http_status == 429 || error.http_status == 503;
  if (later) response.fields.emplace_back("Retry-After", std::to_string(std::max(1, error.retry_after_s)));
  if (error.http_status == 401) response.fields.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

RequestResult<ApiKey> Api::owner_of(const HttpRequest& request) const {
  if (!keys_.asks()) return ApiKey();
  const std::string_view key = presented_key(request.authorization, request.api_key);
  if (auto owner = keys_.find(key)) return std::move(*owner);
  return http_refusal(401,
                      !key.empty() ? "Incorrect API key provided."
                                   : "You didn't provide an API key. Use the header Authorization: Bearer KEY.",
                      "invalid_api_key");
}

void Api::add_cors(const std::string& origin, HttpResponse& response) const {
  const auto& allowed = options_.allowed_origins;
  if (allowed.empty()) return;
  const bool any = std::find(allowed.begin(), allowed.end(), "*") != allowed.end();
  const bool listed = !origin.empty() && std::find(allowed.begin(), allowed.end(), origin) != allowed.end();
  if (any || listed) response.fields.emplace_back("Access-Control-Allow-Origin", any ? "*" : origin);
  if (any || listed) response.fields.emplace_back("Access-Control-Expose-Headers", "*");  // request id, rate limits
  if (!any) response.fields.emplace_back("Vary", "Origin");
}

HttpResponse Api::options_answer(const HttpRequest& request, std::string allow) const {
  HttpResponse response;
  response.status = 204;
  response.content_type.clear();
  if (request.asks_preflight && !options_.allowed_origins.empty()) {
    response.fields.emplace_back("Access-Control-Allow-Methods", allow);
    response.fields.emplace_back("Access-Control-Allow-Headers", "*, Authorization, Content-Type");
    response.fields.emplace_back("Access-Control-Max-Age", "600");
  }
  response.fields.emplace_back("Allow", std::move(allow));
  return response;
}

asio::awaitable<HttpResponse> Api::handle(HttpRequest request) {
  const std::string origin = request.origin;
  const bool is_messages = request.path.starts_with(kMessages);
  HttpResponse response = co_await route(std::move(request));
  if (is_messages && response.refused) response.body = json::serialize(messages_error_body(*response.refused));
  add_cors(origin, response);
  co_return response;
}

asio::awaitable<HttpResponse> Api::route(HttpRequest request) {
  const PathRoutes found = find_routes(request.path);
  if (request.method == "OPTIONS") {
    if (request.path == "*") co_return options_answer(request, "GET, HEAD, POST, DELETE, OPTIONS");
    if (!found.routes.empty()) co_return options_answer(request, found.methods());
  }
  KeyLimits limits{.requests_per_min = options_.limit_requests_per_min,
                   .tokens_per_min = options_.limit_tokens_per_min};
  bool is_admin = false;
  if (!found.is_open()) {  // what is not there is guarded, too: without a key nobody finds out what is
    const auto owner = owner_of(request);
    if (owner.has_error()) co_return refusal(owner.error());
    request.tenant = request.record->key = owner->id;
    is_admin = !keys_.asks() || owner->is_admin;
    limits.requests_per_min = owner->requests_per_min.value_or(limits.requests_per_min);
    limits.tokens_per_min = owner->tokens_per_min.value_or(limits.tokens_per_min);
  }
  if (found.routes.empty())
    co_return refusal(http_refusal(404, "there is nothing at this path; see GET /v1/models", "not_found"));
  const Route* route = found.with_method(request.method);
  if (route == nullptr) {
    const std::string allow = found.methods();
    HttpResponse response = refusal(
        http_refusal(405, fmt::format("{} takes only: {}", found.routes.front()->path, allow), "method_not_allowed"));
    response.fields.emplace_back("Allow", allow);
    co_return response;
  }
  if (route->access == Access::admin && !is_admin)
    co_return refusal(http_refusal(403, fmt::format("{} asks for an administrator's key", route->path), "not_admin"));
  if (route->access != Access::open && draining_.load()) {
    HttpResponse response = refusal(unavailable("the server is shutting down", "draining", kDrainingRetryS));
    response.close = true;
    co_return response;
  }
  request.argument = found.argument;
  if (route->access == Access::limited && limits.any())
    co_return co_await limited(route->endpoint, std::move(request), limits);
  co_return co_await (this->*route->endpoint)(std::move(request));
}

asio::awaitable<HttpResponse> Api::limited(Endpoint endpoint, HttpRequest request, KeyLimits limits) {
  const std::string key = request.tenant;
  const auto record = request.record;
  HttpResponse response;
  if (const auto refused = limits_.admit(key, limits, std::chrono::steady_clock::now())) {
    response = refusal(*refused);
  } else {
    response = co_await (this->*endpoint)(std::move(request));
  }
  charge(*record);
  const RateLimits::Report report = limits_.report(key, std::chrono::steady_clock::now());
  const auto add = [&](std::string_view what, const std::optional<RateLimits::State>& state) {
    if (!state) return;
    response.fields.emplace_back(fmt::format("x-ratelimit-limit-{}", what), std::to_string(state->limit));
    response.fields.emplace_back(fmt::format("x-ratelimit-remaining-{}", what), std::to_string(state->remaining));
    response.fields.emplace_back(fmt::format("x-ratelimit-reset-{}", what), reset_text(state->reset_s));
  };
  add("requests", report.requests);
  add("tokens", report.tokens);
  co_return response;
}

void Api::charge(RequestRecord& record) {
  const int64_t used = record.prompt_tokens + record.completion_tokens;
  limits_.charge(record.key, used - std::exchange(record.charged_tokens, used), std::chrono::steady_clock::now());
}

void Api::finished(RequestRecord& record) {
  charge(record);
  if (log_ != nullptr) log_->write(request_log_line(record));
}

RequestResult<std::shared_ptr<const ModelInfo>> Api::loaded_model() const {
  auto model = engine_.model();
  if (model != nullptr) return model;
  std::string reason = engine_.state_reason();
  return unavailable(reason.empty() ? "the model is being loaded" : "the model is being loaded: " + reason,
                     "model_loading", kLoadingRetryS);
}

asio::awaitable<HttpResponse> Api::count_tokens(HttpRequest request) {
  return answer_text(std::move(request), &answer_count_tokens);
}

asio::awaitable<HttpResponse> Api::tokenize(HttpRequest request) {
  return answer_text(std::move(request), &answer_tokenize);
}

asio::awaitable<HttpResponse> Api::detokenize(HttpRequest request) {
  return answer_text(std::move(request), &answer_detokenize);
}

asio::awaitable<HttpResponse> Api::apply_template(HttpRequest request) {
  return answer_text(std::move(request), &answer_apply_template);
}

asio::awaitable<HttpResponse> Api::answer_text(HttpRequest request, AnswerText answer) {
  const auto model = loaded_model();
  if (model.has_error()) co_return refusal(model.error());
  auto work = [&] { return answer(request.body, **model); };
  const auto body = co_await text_work(is_large(request.body), work);
  if (body.has_error()) co_return refusal(body.error());
  co_return json_response(*body);
}

asio::awaitable<HttpResponse> Api::tokenizer_info(HttpRequest) {
  const auto model = loaded_model();
  if (model.has_error()) co_return refusal(model.error());
  co_return json_response(tokenizer_info_body(**model));
}

/// Requests being answered, this one not among them, as vLLM has it.
asio::awaitable<HttpResponse> Api::load(HttpRequest) {
  co_return json_response(json::object{{"server_load", std::max<int64_t>(metrics_.in_flight.load() - 1, 0)}});
}

asio::awaitable<HttpResponse> Api::reset_prefix_cache(HttpRequest) {
  engine_.reset_prefix_cache();
  co_return json_response({});
}

asio::awaitable<HttpResponse> Api::models(HttpRequest) {
  const auto model = loaded_model();
  if (model.has_error()) co_return refusal(model.error());
  co_return json_response(model_list(**model));
}

asio::awaitable<HttpResponse> Api::one_model(HttpRequest request) {
  const auto model = loaded_model();
  if (model.has_error()) co_return refusal(model.error());
  const std::string& name = request.argument;
  if (name != (*model)->name) co_return refusal(*check_model(name.empty() ? "?" : name, **model));
  co_return json_response(model_card(**model));
}

asio::awaitable<HttpResponse> Api::openapi(HttpRequest) {
  const auto model = loaded_model();
  if (model.has_error()) co_return refusal(model.error());
  std::vector<PlacedOperation> operations;
  for (const Route& route : routes())
    operations.push_back({.path = route.path,
                          .method = route.method,
                          .asks_key = keys_.asks() && route.access != Access::open,
                          .operation = &route.operation});
  auto work = [&] { return openapi_document(operations, **model, ECHELON_VERSION); };
  co_return json_response(co_await text_work(true, work));
}

asio::awaitable<HttpResponse> Api::docs(HttpRequest) {
  HttpResponse response;
  response.content_type = "text/html; charset=utf-8";
  response.body = docs_page();
  response.fields.emplace_back("Content-Security-Policy",
                               "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src "
                               "'self'; frame-ancestors 'none'; base-uri 'none'");
  co_return response;
}

asio::awaitable<HttpResponse> Api::live(HttpRequest) { co_return json_response(json::object{{"status", "ok"}}); }

asio::awaitable<HttpResponse> Api::ready(HttpRequest) {
  const EngineState state = draining_.load() ? EngineState::draining : engine_.state();
  std::string reason = engine_.state_reason();
  const bool is_ready = state == EngineState::ready && engine_.is_alive();
  if (is_ready) co_return json_response(json::object{{"status", "ok"}});
  if (state == EngineState::ready && reason.empty()) reason = "the step loop does not move";
  HttpResponse response = json_response(health_body(state, reason), 503);
  response.fields.emplace_back("Retry-After", std::to_string(kLoadingRetryS));
  co_return response;
}

asio::awaitable<HttpResponse> Api::metrics(HttpRequest) {
  const auto model = engine_.model();
  HttpResponse response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = metrics_text(engine_.metrics(), metrics_, model == nullptr ? "" : model->name,
                               batches_ == nullptr ? nullptr : &batches_->metrics(),
                               journal_ == nullptr ? nullptr : &journal_->metrics());
  co_return response;
}

asio::awaitable<HttpResponse> Api::pipeline(HttpRequest) { co_return json_response(pipeline_body(engine_.pipeline())); }

asio::awaitable<HttpResponse> Api::version(HttpRequest) {
  co_return json_response(json::object{{"version", ECHELON_VERSION}});
}

}  // namespace echelon
