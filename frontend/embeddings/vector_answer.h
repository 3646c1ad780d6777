// Answers made of pooled vectors: one comes for every prompt; what they are made into is the derived class's. Never
// streamed.
#pragma once

#include <boost/json/object.hpp>
#include <vector>

#include "frontend/openai/answer.h"

namespace echelon {

class VectorAnswer : public Answer {
 public:
  /// `setup` has its VectorUse.
  explicit VectorAnswer(AnswerSetup setup);
  Effects add(size_t prompt, OutputEvent event) override;

 protected:
  const std::vector<float>& vector(size_t prompt) const { return vectors_[prompt]; }
  const VectorUse& use() const { return *setup().vectors; }
  /// Of the pair, see VectorUse.
  double score(size_t pair) const;
  /// "id", "object", "created" and "model"; no object without a name for it.
  boost::json::object frame(std::string_view object_name) const;
  boost::json::object usage() const;

 private:
  std::vector<std::vector<float>> vectors_;  ///< of every prompt
};

/// OpenAI's list of embeddings.
class EmbeddingsAnswer final : public VectorAnswer {
 public:
  using VectorAnswer::VectorAnswer;
  boost::json::object body() override;
};

/// vLLM's list of scores.
class ScoreAnswer final : public VectorAnswer {
 public:
  using VectorAnswer::VectorAnswer;
  boost::json::object body() override;
};

/// Jina's and Cohere's results, the best first; of equal ones the earlier.
class RerankAnswer final : public VectorAnswer {
 public:
  using VectorAnswer::VectorAnswer;
  boost::json::object body() override;
};

}  // namespace echelon
