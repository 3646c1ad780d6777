#include "frontend/embeddings/vector_answer.h"

#include <algorithm>
#include <numeric>

#include "frontend/embeddings/vector_use.h"
#include "frontend/embeddings/vectors.h"
#include "kernels/base/check.h"

namespace echelon {

namespace json = boost::json;

VectorAnswer::VectorAnswer(AnswerSetup setup) : Answer(std::move(setup)), vectors_(this->setup().prompts.size()) {
  ECHELON_CHECK(this->setup().vectors != nullptr);
}

Answer::Effects VectorAnswer::add(size_t prompt, OutputEvent event) {
  ECHELON_CHECK(prompt < vectors_.size());
  if (!event.pooled.empty()) vectors_[prompt] = std::move(event.pooled);
  const bool is_answered = event.finish && event.finish != FinishReason::error && !event.refusal;
  if (is_answered && vectors_[prompt].size() != static_cast<size_t>(setup().model->hidden_size)) {
    event.finish = FinishReason::error;
    event.error = "a prompt ended without its vector";
  }
  return Answer::add(prompt, std::move(event));
}

double VectorAnswer::score(size_t pair) const {
  const auto& [first, second] = use().pairs[pair];
  return cosine(vector(first), vector(second));
}

json::object VectorAnswer::frame(std::string_view object_name) const {
  json::object object{{"id", setup().id}};
  if (!object_name.empty()) object["object"] = object_name;
  object["created"] = setup().created_unix_s;
  object["model"] = setup().model->name;
  return object;
}

json::object VectorAnswer::usage() const {
  const int64_t tokens = counts().prompt;
  return {{"prompt_tokens", tokens}, {"total_tokens", tokens}};
}

json::object EmbeddingsAnswer::body() {
  json::object object = frame("list");
  json::array& data = object["data"].emplace_array();
  for (size_t i = 0; i < setup().prompts.size(); ++i) {
    const std::vector<float> values = shaped(vector(i), use().dimensions, use().normalize);
    json::value embedding =
        use().base64 ? json::value(base64_of_floats(values)) : json::value(json::array(values.begin(), values.end()));
    data.push_back(json::object{{"object", "embedding"}, {"index", i}, {"embedding", std::move(embedding)}});
  }
  object["usage"] = usage();
  return object;
}

json::object ScoreAnswer::body() {
  json::object object = frame("list");
  json::array& data = object["data"].emplace_array();
  for (size_t i = 0; i < use().pairs.size(); ++i)
    data.push_back(json::object{{"index", i}, {"object", "score"}, {"score", score(i)}});
  object["usage"] = usage();
  return object;
}

json::object RerankAnswer::body() {
  std::vector<double> scores;
  for (size_t i = 0; i < use().pairs.size(); ++i) scores.push_back(score(i));
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  if (use().num_returned > 0) order.resize(std::min(order.size(), use().num_returned));
  json::object object = frame("");
  json::array& results = object["results"].emplace_array();
  for (const size_t i : order) {
    json::object result{{"index", i}};
    if (!use().documents.empty()) result["document"] = json::object{{"text", use().documents[i]}};
    result["relevance_score"] = scores[i];
    results.push_back(std::move(result));
  }
  object["usage"] = usage();
  return object;
}

}  // namespace echelon
