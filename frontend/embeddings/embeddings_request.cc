// `last` is the default: of the models that are served here, which all look at earlier tokens only, the last token
// alone has seen the whole text.
#include "frontend/embeddings/embeddings_request.h"

#include <fmt/format.h>

#include <limits>

#include "frontend/openai/prepare.h"
#include "frontend/refusals.h"

namespace echelon {
namespace {

namespace json = boost::json;

void read_pooling(JsonReader& reader, Pooling& pooling) {
  constexpr std::string_view kPoolings[] = {"last", "mean"};
  std::string name = "last";
  reader.read_word("pooling", name, kPoolings);
  pooling = name == "mean" ? Pooling::mean : Pooling::last;
}

void read_encoding(JsonReader& reader, bool& base64) {
  constexpr std::string_view kEncodings[] = {"float", "base64"};
  std::string name = "float";
  reader.read_word("encoding_format", name, kEncodings);
  base64 = name == "base64";
}

}  // namespace

void read_pooled_params(JsonReader& reader, const ModelInfo& model, GenerationParams& params,
                        bool& add_special_tokens) {
  constexpr int64_t kInt32Min = std::numeric_limits<int32_t>::min(), kInt32Max = std::numeric_limits<int32_t>::max();
  read_model(reader, model);
  read_pooling(reader, params.pooling);
  params.max_tokens = 0;  // so that truncation leaves no room for output
  reader.read("truncate_prompt_tokens", params.truncate_prompt_tokens, -1, kInt32Max);
  if (params.truncate_prompt_tokens == 0)
    reader.fail("truncate_prompt_tokens", "truncate_prompt_tokens must be -1 or at least 1");
  reader.read("add_special_tokens", add_special_tokens);
  reader.read("priority", params.priority, kInt32Min, kInt32Max);
  reader.read("user", params.user);
  read_request_id(reader, params.request_id);
  reader.read("cache_salt", params.cache_salt);
  read_timeout(reader, params);
}

void read_embeddings_request(JsonReader& reader, const ModelInfo& model, EmbeddingsRequest& request) {
  VectorUse& use = request.use;
  read_pooled_params(reader, model, request.params, request.add_special_tokens);
  std::optional<int64_t> dimensions;
  reader.read("dimensions", dimensions, 1, model.hidden_size);
  use.dimensions = dimensions.value_or(0);
  reader.read("normalize", use.normalize);
  read_encoding(reader, use.base64);
  request.inputs = read_prompts(reader, "input", model.vocab_size, kMaxInputs);
  reader.refuse_others(ignored_parameters());
}

RequestResult<AnswerSetup> prepare_embeddings(std::string_view body, std::shared_ptr<const ModelInfo> model) {
  const auto object = parse_json_object(body);
  if (object.has_error()) return object.error();
  auto request = parsed<EmbeddingsRequest>(*object, *model, &read_embeddings_request);
  if (request.has_error()) return request.error();
  auto setup = prepare_pooled(std::move(request->params), std::move(request->inputs), request->add_special_tokens,
                              "input", std::move(model));
  if (setup.has_value()) setup->vectors = std::make_shared<const VectorUse>(std::move(request->use));
  return setup;
}

}  // namespace echelon
