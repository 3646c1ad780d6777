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
  reader.find_shaped(name, [] {
    const json::object text{{"type", "string"}};
    return any_of({text, array_shape(text, kMaxScoredTexts, 1)});
  });
  const json::value& value = reader.require(name);
  if (reader.failed() || reader.describes()) return texts;
  if (value.is_string()) {
    texts.emplace_back(value.get_string());
    return texts;
  }
  if (!is_array_of(reader, name, value, {1, kMaxScoredTexts, "strings, or a string"})) return texts;
  for (const json::value& one : value.get_array()) {
    if (!one.is_string()) {
      reader.fail(name, fmt::format("{} must have strings alone, not {}", name, kind_name(one)));
      break;
    }
    texts.emplace_back(one.get_string());
  }
  return texts;
}

/// Strings, or objects with a text.
std::vector<std::string> read_documents(JsonReader& reader) {
  std::vector<std::string> documents;
  std::string text;
  const auto read = [&](JsonReader& document) {
    document.require("text");
    document.read("text", text);
  };
  reader.find_shaped("documents", [&] {
    return array_shape(any_of({json::object{{"type", "string"}}, described(read)}), kMaxScoredTexts, 1);
  });
  const json::value& value = reader.require("documents");
  if (reader.failed() || reader.describes()) return documents;
  if (!is_array_of(reader, "documents", value, {1, kMaxScoredTexts, "strings, or of objects with a text"}))
    return documents;
  for (const json::value& one : value.get_array()) {
    if (reader.failed()) break;
    if (one.is_string()) {
      text = one.get_string();
    } else {
      read_element(reader, fmt::format("documents[{}]", documents.size()), one, read);
    }
    documents.push_back(std::move(text));
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

void read_score_request(JsonReader& reader, const ModelInfo& model, ScoreRequest& request) {
  read_pooled_params(reader, model, request.params, request.add_special_tokens);
  request.first = read_texts(reader, "text_1");
  request.second = read_texts(reader, "text_2");
  const size_t num_first = request.first.size(), num_second = request.second.size();
  if (!reader.failed() && num_first > 1 && num_first != num_second)
    reader.fail("text_2", fmt::format("text_2 must have as many texts as text_1, {}, or text_1 be one; it has {}",
                                      num_first, num_second));
  reader.refuse_others(ignored_parameters());
}

void read_rerank_request(JsonReader& reader, const ModelInfo& model, RerankRequest& request) {
  read_pooled_params(reader, model, request.params, request.add_special_tokens);
  reader.require("query");
  reader.read("query", request.query);
  request.documents = read_documents(reader);
  reader.read("top_n", request.top_n, 0, std::numeric_limits<int32_t>::max());
  reader.read("return_documents", request.return_documents);
  reader.refuse_others(ignored_parameters());
}

RequestResult<AnswerSetup> prepare_score(std::string_view body, std::shared_ptr<const ModelInfo> model) {
  const auto object = parse_json_object(body);
  if (object.has_error()) return object.error();
  auto request = parsed<ScoreRequest>(*object, *model, &read_score_request);
  if (request.has_error()) return request.error();
  std::vector<std::string>&first = request->first, &second = request->second;
  VectorUse use;
  for (size_t i = 0; i < second.size(); ++i) use.pairs.emplace_back(first.size() == 1 ? 0 : i, first.size() + i);
  auto setup = prepare_texts(request->params, request->add_special_tokens, {"text_1", std::move(first)},
                             {"text_2", std::move(second)}, model);
  if (setup.has_value()) setup->vectors = std::make_shared<const VectorUse>(std::move(use));
  return setup;
}

RequestResult<AnswerSetup> prepare_rerank(std::string_view body, std::shared_ptr<const ModelInfo> model) {
  const auto object = parse_json_object(body);
  if (object.has_error()) return object.error();
  auto request = parsed<RerankRequest>(*object, *model, &read_rerank_request);
  if (request.has_error()) return request.error();
  VectorUse use;
  for (size_t i = 0; i < request->documents.size(); ++i) use.pairs.emplace_back(0, 1 + i);
  use.num_returned = static_cast<size_t>(request->top_n.value_or(0));
  if (request->return_documents) use.documents = request->documents;
  auto setup = prepare_texts(request->params, request->add_special_tokens, {"query", {std::move(request->query)}},
                             {"documents", std::move(request->documents)}, model);
  if (setup.has_value()) setup->vectors = std::make_shared<const VectorUse>(std::move(use));
  return setup;
}

}  // namespace echelon
