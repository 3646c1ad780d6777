// `last` is the default: of the models that are served here, which all look at earlier tokens only, the last token
// alone has seen the whole text.
#include "frontend/embeddings/embeddings_request.h"

#include <fmt/format.h>

#include <limits>

#include "frontend/embeddings/vector_use.h"
#include "frontend/openai/completion_request.h"
#include "frontend/openai/prepare.h"
#include "frontend/refusals.h"

namespace echelon {
namespace {

namespace json = boost::json;

void read_pooling(JsonReader& reader, Pooling& pooling) {
  std::string name = "last";
  reader.read("pooling", name);
  pooling = name == "mean" ? Pooling::mean : Pooling::last;
  if (name != "last" && name != "mean") reader.fail("pooling", "pooling must be last or mean");
}

void read_encoding(JsonReader& reader, bool& base64) {
  std::string name = "float";
  reader.read("encoding_format", name);
  base64 = name == "base64";
  if (name != "float" && name != "base64") reader.fail("encoding_format", "encoding_format must be float or base64");
}

}  // namespace

void read_pooled_params(JsonReader& reader, const ModelInfo& model, GenerationParams& params,
                        bool& add_special_tokens) {
  constexpr int64_t kInt32Min = std::numeric_limits<int32_t>::min(), kInt32Max = std::numeric_limits<int32_t>::max();
  reader.read("model", params.model);
  if (!reader.failed()) {
    if (auto error = check_model(params.model, model)) reader.fail(std::move(*error));
  }
  read_pooling(reader, params.pooling);
  params.max_tokens = 0;  // so that truncation leaves no room for output
  reader.read("truncate_prompt_tokens", params.truncate_prompt_tokens, -1, kInt32Max);
  if (params.truncate_prompt_tokens == 0)
    reader.fail("truncate_prompt_tokens", "truncate_prompt_tokens must be -1 or at least 1");
  reader.read("add_special_tokens", add_special_tokens);
  reader.read("priority", params.priority, kInt32Min, kInt32Max);
  reader.read("user", params.user);
  reader.read("cache_salt", params.cache_salt);
  read_timeout(reader, params);
}

RequestResult<AnswerSetup> prepare_embeddings(std::string_view body, std::shared_ptr<const ModelInfo> model) {
  const auto object = parse_json_object(body);
  if (object.has_error()) return object.error();
  JsonReader reader(*object);
  GenerationParams params;
  bool add_special_tokens = true;
  read_pooled_params(reader, *model, params, add_special_tokens);
  VectorUse use;
  std::optional<int64_t> dimensions;
  reader.read("dimensions", dimensions, 1, model->hidden_size);
  use.dimensions = dimensions.value_or(0);
  reader.read("normalize", use.normalize);
  read_encoding(reader, use.base64);
  std::vector<PromptInput> inputs;
  const json::value& input = reader.require("input");
  if (!reader.failed()) {
    auto prompts = read_prompts(input, model->vocab_size, "input");
    if (prompts.has_error()) {
      reader.fail(prompts.error());
    } else {
      inputs = std::move(*prompts);
    }
  }
  reader.refuse_others(ignored_parameters());
  if (reader.error()) return *reader.error();

  auto setup = prepare_pooled(std::move(params), std::move(inputs), add_special_tokens, "input", std::move(model));
  if (setup.has_value()) setup->vectors = std::make_shared<const VectorUse>(std::move(use));
  return setup;
}

}  // namespace echelon
