// The endpoints that answer with pooled hidden states, or with what they say of texts.
#include "frontend/api.h"

namespace echelon {

boost::asio::awaitable<HttpResponse> Api::embeddings(HttpRequest request) {
  return generate(std::move(request), kEmbeddingsEndpoint);
}

boost::asio::awaitable<HttpResponse> Api::score(HttpRequest request) {
  return generate(std::move(request), kScoreEndpoint);
}

boost::asio::awaitable<HttpResponse> Api::rerank(HttpRequest request) {
  return generate(std::move(request), kRerankEndpoint);
}

}  // namespace echelon
