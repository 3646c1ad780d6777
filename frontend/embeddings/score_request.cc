#include "frontend/embeddings/score_request.h"

#include <fmt/format.h>

#include <limits>

#include "frontend/embeddings/embeddings_request.h"
#include "frontend/embeddings/vector_use.h"
#include "frontend/openai/completion_request.h"
#include "frontend/openai/prepare.h"
#include "frontend/refusals.h"

namespace echelon {
namespace {

namespace json = boost::json;

/// A string, or an array of them.
std::vector<std::string> read_texts(JsonReader& reader, std::string_view name) {
  std::vector<std::string> texts;
  const json::value& value = reader.require(name);
  if (reader.failed()) return texts;
  const std::string wrong = fmt::format("{} must be a string or an array of 1 to {} strings", name, kMaxScoredTexts);
  if (value.is_string()) {
    texts.emplace_back(value.get_string());
    return texts;
  }
  const bool is_list = value.is_array() && !value.get_array().empty() && value.get_array().size() <= kMaxScoredTexts;
  if (!is_list) {
    reader.fail(name, wrong);
    return texts;
  }
  for (const json::value& one : value.get_array()) {
    if (!one.is_string()) {
      reader.fail(name, wrong);
      break;
    }
    texts.emplace_back(one.get_string());
  }
  return texts;
}

/// Strings, or objects with a text.
std::vector<std::string> read_documents(JsonReader& reader) {
  std::vector<std::string> documents;
  const json::value& value = reader.require("documents");
  if (reader.failed()) return documents;
  if (!value.is_array() || value.get_array().empty() || value.get_array().size() > kMaxScoredTexts) {
    reader.fail("documents", fmt::format("documents must be an array of 1 to {} strings, or of objects with a text",
                                         kMaxScoredTexts));
    return documents;
  }
  for (const json::value& one : value.get_array()) {
    if (reader.failed()) break;
    std::string& text = documents.emplace_back();
    if (one.is_string()) {
      text = one.get_string();
      continue;
    }
    read_element(reader, fmt::format("documents[{}]", documents.size() - 1), one, [&](JsonReader& document) {
      document.require("text");
      document.read("text", text);
    });
  }
  return documents;
}

struct NamedTexts {
  std::string_view name;  ///< of their parameter
  std::vector<std::string> texts;
};

/// The prompts of one list, then those of the other; an error names the list it is in.
RequestResult<AnswerSetup> prepare_texts(const GenerationParams& params, bool add_special_tokens, NamedTexts first,
                                         NamedTexts second, const std::shared_ptr<const ModelInfo>& model) {
  const auto prepare = [&](NamedTexts list) {
    std::vector<PromptInput> inputs;
    for (std::string& text : list.texts) inputs.emplace_back(std::move(text));
    return prepare_pooled(params, std::move(inputs), add_special_tokens, list.name, model);
  };
  auto setup = prepare(std::move(first));
  if (setup.has_error()) return setup;
  auto others = prepare(std::move(second));
  if (others.has_error()) return others;
  for (AnswerPrompt& prompt : others->prompts) setup->prompts.push_back(std::move(prompt));
  return setup;
}

}  // namespace

RequestResult<AnswerSetup> prepare_score(std::string_view body, std::shared_ptr<const ModelInfo> model) {
  const auto object = parse_json_object(body);
  if (object.has_error()) return object.error();
  JsonReader reader(*object);
  GenerationParams params;
  bool add_special_tokens = true;
  read_pooled_params(reader, *model, params, add_special_tokens);
  std::vector<std::string> first = read_texts(reader, "text_1"), second = read_texts(reader, "text_2");
  if (!reader.failed() && first.size() > 1 && first.size() != second.size())
    reader.fail("text_2", fmt::format("text_2 must have as many texts as text_1, {}, or text_1 be one; it has {}",
                                      first.size(), second.size()));
  reader.refuse_others(ignored_parameters());
  if (reader.error()) return *reader.error();

  VectorUse use;
  for (size_t i = 0; i < second.size(); ++i) use.pairs.emplace_back(first.size() == 1 ? 0 : i, first.size() + i);
  auto setup =
      prepare_texts(params, add_special_tokens, {"text_1", std::move(first)}, {"text_2", std::move(second)}, model);
  if (setup.has_value()) setup->vectors = std::make_shared<const VectorUse>(std::move(use));
  return setup;
}

RequestResult<AnswerSetup> prepare_rerank(std::string_view body, std::shared_ptr<const ModelInfo> model) {
  const auto object = parse_json_object(body);
  if (object.has_error()) return object.error();
  JsonReader reader(*object);
  GenerationParams params;
  bool add_special_tokens = true, return_documents = true;
  read_pooled_params(reader, *model, params, add_special_tokens);
  std::string query;
  reader.require("query");
  reader.read("query", query);
  std::vector<std::string> documents = read_documents(reader);
  std::optional<int64_t> top_n;
  reader.read("top_n", top_n, 0, std::numeric_limits<int32_t>::max());
  reader.read("return_documents", return_documents);
  reader.refuse_others(ignored_parameters());
  if (reader.error()) return *reader.error();

  VectorUse use;
  for (size_t i = 0; i < documents.size(); ++i) use.pairs.emplace_back(0, 1 + i);
  use.num_returned = static_cast<size_t>(top_n.value_or(0));
  if (return_documents) use.documents = documents;
  auto setup = prepare_texts(params, add_special_tokens, {"query", {std::move(query)}},
                             {"documents", std::move(documents)}, model);
  if (setup.has_value()) setup->vectors = std::make_shared<const VectorUse>(std::move(use));
  return setup;
}

}  // namespace echelon
