// Every path asks for a key but health, metrics, /debug/pipeline and version, which are open, as in vLLM, and /docs, a
// page that says nothing of this server.
#include "frontend/routes.h"

#include <fmt/format.h>

#include <array>
#include <boost/url/pct_string_view.hpp>
#include <optional>

#include "frontend/anthropic/messages_request.h"
#include "frontend/batch/batch_bodies.h"
#include "frontend/embeddings/embeddings_request.h"
#include "frontend/embeddings/score_request.h"
#include "frontend/openai/chat_request.h"
#include "frontend/openai/completion_request.h"
#include "frontend/openai/tokenize_request.h"
#include "frontend/responses/responses_request.h"

namespace echelon {
namespace {

constexpr std::string_view kHtml = "text/html", kText = "text/plain", kBytes = "application/octet-stream";

void describe_batch(JsonReader& reader, const ModelInfo&) {
  Batch batch;
  read_batch_request(reader, batch);
}

constexpr Operation kChat{.summary = "answers a conversation",
                          .answer = "ChatCompletion",
                          .body = &describe_body<&read_chat_request>,
                          .streams = true};
constexpr Operation kCompletions{.summary = "continues prompts",
                                 .answer = "Completion",
                                 .body = &describe_body<&read_completion_request>,
                                 .streams = true};
constexpr Operation kResponses{.summary = "OpenAI's responses, without a memory",
                               .answer = "Response",
                               .body = &describe_body<&read_responses_request>,
                               .streams = true};
constexpr Operation kMessages{.summary = "Anthropic's messages",
                              .answer = "Message",
                              .body = &describe_body<&read_messages_request>,
                              .streams = true,
                              .error = "MessagesError"};
constexpr Operation kResume{
    .summary = "goes on with a stream, behind the event of Last-Event-ID", .answer = "", .media = "text/event-stream"};
constexpr Operation kResumeMessages{
    .summary = kResume.summary, .answer = "", .media = kResume.media, .error = "MessagesError"};
constexpr Operation kCountTokens{.summary = "how many tokens a conversation has",
                                 .answer = "TokenCount",
                                 .body = &describe_body<&read_count_request>,
                                 .error = "MessagesError"};
constexpr Operation kEmbeddings{.summary = "pooled hidden states of texts",
                                .answer = "Embeddings",
                                .body = &describe_body<&read_embeddings_request>};
constexpr Operation kScore{
    .summary = "how near texts are to each other", .answer = "Scores", .body = &describe_body<&read_score_request>};
constexpr Operation kRerank{.summary = "documents by their nearness to a query",
                            .answer = "Ranking",
                            .body = &describe_body<&read_rerank_request>};
constexpr Operation kListFiles{.summary = "the files", .answer = "FileList", .query = kFilesQuery};
constexpr Operation kCreateFile{.summary = "uploads a file of requests", .answer = "File", .is_upload = true};
constexpr Operation kContent{.summary = "a file's bytes", .answer = "", .media = kBytes};
constexpr Operation kListBatches{.summary = "the batches", .answer = "BatchList", .query = kBatchesQuery};
constexpr Operation kCreateBatch{.summary = "has a file answered", .answer = "Batch", .body = &describe_batch};
constexpr Operation kTokenize{
    .summary = "the tokens of a text", .answer = "Tokens", .body = &describe_body<&read_tokenize_request>};
constexpr Operation kDetokenize{
    .summary = "the text of tokens", .answer = "Text", .body = &describe_body<&read_detokenize_request>};
constexpr Operation kTemplate{
    .summary = "a conversation as the model's text", .answer = "Text", .body = &describe_body<&read_template_request>};
constexpr Operation kReady{.summary = "whether requests are taken", .answer = "Health", .error = "Health"};

constexpr auto kRoutes = std::to_array<Route>({
    {"/v1/chat/completions", "POST", Access::limited, &Api::chat, kChat},
    {"/v1/completions", "POST", Access::limited, &Api::completions, kCompletions},
    {"/v1/responses", "POST", Access::limited, &Api::responses, kResponses},
    {"/v1/messages", "POST", Access::limited, &Api::messages, kMessages},
    {"/v1/chat/completions/{id}/resume", "POST", Access::limited, &Api::resume, kResume},
    {"/v1/completions/{id}/resume", "POST", Access::limited, &Api::resume, kResume},
    {"/v1/responses/{id}/resume", "POST", Access::limited, &Api::resume, kResume},
    {"/v1/messages/{id}/resume", "POST", Access::limited, &Api::resume, kResumeMessages},
    {"/v1/messages/count_tokens", "POST", Access::guarded, &Api::count_tokens, kCountTokens},
    {"/v1/embeddings", "POST", Access::limited, &Api::embeddings, kEmbeddings},
    {"/score", "POST", Access::limited, &Api::score, kScore},
    {"/v1/score", "POST", Access::limited, &Api::score, kScore},
    {"/rerank", "POST", Access::limited, &Api::rerank, kRerank},
    {"/v1/rerank", "POST", Access::limited, &Api::rerank, kRerank},
    {"/v2/rerank", "POST", Access::limited, &Api::rerank, kRerank},
    {"/v1/models", "GET", Access::guarded, &Api::models, {"the models", "ModelList"}},
    {"/v1/models/{+model}", "GET", Access::guarded, &Api::one_model, {"a model", "Model"}},
    {"/v1/files", "GET", Access::guarded, &Api::list_files, kListFiles},
    {"/v1/files", "POST", Access::guarded, &Api::create_file, kCreateFile},
    {"/v1/files/{file_id}", "GET", Access::guarded, &Api::one_file, {"a file", "File"}},
    {"/v1/files/{file_id}", "DELETE", Access::guarded, &Api::delete_file, {"removes a file", "DeletedFile"}},
    {"/v1/files/{file_id}/content", "GET", Access::guarded, &Api::file_content, kContent},
    {"/v1/batches", "GET", Access::guarded, &Api::list_batches, kListBatches},
    {"/v1/batches", "POST", Access::guarded, &Api::create_batch, kCreateBatch},
    {"/v1/batches/{batch_id}", "GET", Access::guarded, &Api::one_batch, {"a batch", "Batch"}},
    {"/v1/batches/{batch_id}/cancel", "POST", Access::guarded, &Api::cancel_batch, {"ends a batch", "Batch"}},
    {"/tokenize", "POST", Access::guarded, &Api::tokenize, kTokenize},
    {"/detokenize", "POST", Access::guarded, &Api::detokenize, kDetokenize},
    {"/tokenizer_info", "GET", Access::guarded, &Api::tokenizer_info, {"special tokens, template", "TokenizerInfo"}},
    {"/apply-template", "POST", Access::guarded, &Api::apply_template, kTemplate},
    {"/load", "GET", Access::guarded, &Api::load, {"requests that are being answered", "Load"}},
    {"/reset_prefix_cache", "POST", Access::admin, &Api::reset_prefix_cache, {"forgets prefixes", "Nothing"}},
    {"/openapi.json", "GET", Access::guarded, &Api::openapi, {"this document", "OpenApi"}},
    {"/docs", "GET", Access::open, &Api::docs, {"this document as a page", "", nullptr, kHtml}},
    {"/health", "GET", Access::open, &Api::ready, kReady},
    {"/health/ready", "GET", Access::open, &Api::ready, kReady},
    {"/health/live", "GET", Access::open, &Api::live, {"whether the server runs", "Health"}},
    {"/metrics", "GET", Access::open, &Api::metrics, {"Prometheus metrics", "", nullptr, kText}},
    {"/debug/pipeline", "GET", Access::open, &Api::pipeline, {"the last micro-batches", "Pipeline"}},
    {"/version", "GET", Access::open, &Api::version, {"the server's version", "Version"}},
});

/// What of `path` the braces of `pattern` stand for; nothing when it is another path.
std::optional<std::string_view> match(std::string_view pattern, std::string_view path) {
  const size_t brace = pattern.find('{');
  if (brace == std::string_view::npos) return path == pattern ? std::optional(std::string_view()) : std::nullopt;
  const bool takes_all = pattern[brace + 1] == '+';
  const std::string_view before = pattern.substr(0, brace), after = pattern.substr(pattern.find('}') + 1);
  if (path.size() <= before.size() + after.size() || !path.starts_with(before) || !path.ends_with(after))
    return std::nullopt;
  const std::string_view argument = path.substr(before.size(), path.size() - before.size() - after.size());
  if (!takes_all && argument.find('/') != std::string_view::npos) return std::nullopt;
  return argument;
}

}  // namespace

std::span<const Route> routes() { return kRoutes; }

const Route* PathRoutes::with_method(std::string_view method) const {
  for (const Route* route : routes) {
    if (route->method == method || (method == "HEAD" && route->method == "GET")) return route;
  }
  return nullptr;
}

std::string PathRoutes::methods() const {
  std::string all;
  for (const Route* route : routes) all += fmt::format("{}, ", route->method == "GET" ? "GET, HEAD" : route->method);
  return all + "OPTIONS";
}

PathRoutes find_routes(std::string_view path) {
  PathRoutes found;
  for (const Route& route : kRoutes) {
    const auto argument = match(route.path, path);
    if (!argument) continue;
    found.routes.push_back(&route);
    const auto encoded = boost::urls::make_pct_string_view(*argument);
    if (encoded.has_value()) found.argument = encoded->decode();
  }
  return found;
}

}  // namespace echelon
