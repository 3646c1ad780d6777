// Every parameter of the request bodies: a good value, null, a wrong type, a value out of range; and what is refused,
// ignored or unknown. Pure functions, no server.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "frontend/openai/chat_request.h"
#include "frontend/openai/completion_request.h"
#include "frontend/openai/prepare.h"
#include "frontend/openai/tokenize_request.h"
#include "tests/frontend/small_model.h"

namespace echelon {
namespace {

namespace json = boost::json;
using testing::kSmallContext;
using testing::small_model;

/// `usual` and `member`, which may be of the same name: then it takes its place.
std::string body_with(std::string_view usual, std::string_view member) {
  const bool replaces = member.substr(0, member.find(':')) == usual.substr(0, usual.find(':'));
  return fmt::format("{{{}{}{}}}", replaces ? "" : usual, replaces || member.empty() ? "" : ",", member);
}
std::string chat_with(std::string_view member) {
  return body_with(R"("messages":[{"role":"user","content":"hello"}])", member);
}
std::string completion_with(std::string_view member) { return body_with(R"("prompt":"hello")", member); }

RequestResult<AnswerSetup> chat(std::string_view member) { return prepare_chat(chat_with(member), small_model()); }
RequestResult<AnswerSetup> completion(std::string_view member) {
  return prepare_completion(completion_with(member), small_model());
}

struct BadCase {
  std::string_view member;  ///< the JSON member at fault
  std::string_view param;   ///< the parameter the error must name
};

constexpr BadCase kBadInBoth[] = {
    {R"("model":5)", "model"},
    {R"("max_tokens":"5")", "max_tokens"},
    {R"("max_tokens":-1)", "max_tokens"},
    {R"("max_tokens":1.5)", "max_tokens"},
    {R"("max_tokens":99999999999)", "max_tokens"},
    {R"("max_tokens":5000)", "max_tokens"},
    {R"("max_completion_tokens":0,"echo":false)", "max_completion_tokens"},
    {R"("max_completion_tokens":true)", "max_completion_tokens"},
    {R"("max_completion_tokens":4096)", "max_completion_tokens"},
    {R"("temperature":"hot")", "temperature"},
    {R"("temperature":-0.1)", "temperature"},
    {R"("temperature":1e999)", "temperature"},
    {R"("temperature":true)", "temperature"},
    {R"("top_p":0)", "top_p"},
    {R"("top_p":1.5)", "top_p"},
    {R"("top_p":[])", "top_p"},
    {R"("top_k":-2)", "top_k"},
    {R"("top_k":2.5)", "top_k"},
    {R"("top_k":"all")", "top_k"},
    {R"("min_p":-0.5)", "min_p"},
    {R"("min_p":2)", "min_p"},
    {R"("typical_p":0)", "typical_p"},
    {R"("min_p":{})", "min_p"},
    {R"("n":0)", "n"},
    {R"("n":17)", "n"},
    {R"("n":"2")", "n"},
    {R"("stop":5)", "stop"},
    {R"("stop":"")", "stop"},
    {R"("stop":["a",5])", "stop"},
    {R"("stop":["a","b","c","d","e","f","g","h","i","j","k","l","m","n","o","p","q"])", "stop"},
    {R"("stop_token_ids":7)", "stop_token_ids"},
    {R"("stop_token_ids":["a"])", "stop_token_ids"},
    {R"("stop_token_ids":[-1])", "stop_token_ids"},
    {R"("stop_token_ids":[263])", "stop_token_ids"},
    {R"("seed":"x")", "seed"},
    {R"("seed":0.5)", "seed"},
    {R"("seed":18446744073709551615)", "seed"},
    {R"("seed":1e300)", "seed"},
    {R"("presence_penalty":2.1)", "presence_penalty"},
    {R"("presence_penalty":"a")", "presence_penalty"},
    {R"("frequency_penalty":-2.1)", "frequency_penalty"},
    {R"("frequency_penalty":false)", "frequency_penalty"},
    {R"("repetition_penalty":0)", "repetition_penalty"},
    {R"("repetition_penalty":"a")", "repetition_penalty"},
    {R"("stream":"yes")", "stream"},
    {R"("stream":1)", "stream"},
    {R"("stream_options":{"include_usage":true})", "stream_options"},
    {R"("stream":true,"stream_options":true)", "stream_options"},
    {R"("stream":true,"stream_options":{"include_usage":1})", "stream_options.include_usage"},
    {R"("stream":true,"stream_options":{"chunks":1})", "stream_options.chunks"},
    {R"("ignore_eos":0)", "ignore_eos"},
    {R"("min_tokens":-1)", "min_tokens"},
    {R"("min_tokens":9,"max_tokens":8)", "min_tokens"},
    {R"("priority":"high")", "priority"},
    {R"("priority":3000000000)", "priority"},
    {R"("skip_special_tokens":"no")", "skip_special_tokens"},
    {R"("include_stop_str_in_output":3)", "include_stop_str_in_output"},
    {R"("return_token_ids":"a")", "return_token_ids"},
    {R"("functions":[{}])", "functions"},
    {R"("function_call":"auto")", "function_call"},
    {R"("response_format":{"type":"yaml"})", "response_format.type"},
    {R"("response_format":{"type":"text","schema":{}})", "response_format.schema"},
    {R"("response_format":"text")", "response_format"},
    {R"("response_format":{"type":"json_schema"})", "response_format.json_schema"},
    {R"("response_format":{"type":"json_schema","json_schema":{"schema":{}}})", "response_format.json_schema.name"},
    {R"("response_format":{"type":"json_schema","json_schema":{"name":"a"}})", "response_format.json_schema.schema"},
    {R"("response_format":{"type":"json_schema","json_schema":{"name":"a","schema":5}})",
     "response_format.json_schema.schema"},
    {R"("response_format":{"type":"json_object"},"guided_regex":"a")", "response_format.type"},
    {R"("structured_outputs":{"json":5})", "structured_outputs.json"},
    {R"("structured_outputs":{"regex":"a","choice":["b"]})", "structured_outputs.choice"},
    {R"("structured_outputs":{"choice":[]})", "structured_outputs.choice"},
    {R"("structured_outputs":{"grammar":{}})", "structured_outputs.grammar"},
    {R"("structured_outputs":{"xml":"a"})", "structured_outputs.xml"},
    {R"("structured_outputs":[])", "structured_outputs"},
    {R"("guided_choice":[1])", "guided_choice"},
    {R"("guided_whitespace_pattern":" ")", "guided_whitespace_pattern"},
    {R"("logit_bias":{"5":101})", "logit_bias"},
    {R"("logit_bias":{"5":"1"})", "logit_bias"},
    {R"("logit_bias":{"five":1})", "logit_bias"},
    {R"("logit_bias":{"5.0":1})", "logit_bias"},
    {R"("logit_bias":{"-1":1})", "logit_bias"},
    {R"("logit_bias":{"1000000000":1})", "logit_bias"},
    {R"("logit_bias":[5])", "logit_bias"},
    {R"("allowed_token_ids":[])", "allowed_token_ids"},
    {R"("allowed_token_ids":[-1])", "allowed_token_ids"},
    {R"("allowed_token_ids":"all")", "allowed_token_ids"},
    {R"("bad_words":[""])", "bad_words"},
    {R"("bad_words":[5])", "bad_words"},
    {R"("bad_words":{"a":1})", "bad_words"},
    {R"("prompt_logprobs":-1)", "prompt_logprobs"},
    {R"("prompt_logprobs":21)", "prompt_logprobs"},
    {R"("prompt_logprobs":1,"stream":true)", "prompt_logprobs"},
    {R"("truncate_prompt_tokens":0)", "truncate_prompt_tokens"},
    {R"("request_id":"")", "request_id"},
    {R"("request_id":"a b")", "request_id"},
    {R"("request_id":7)", "request_id"},
    {R"("long_input":"cut")", "long_input"},
    {R"("truncate_prompt_tokens":-2)", "truncate_prompt_tokens"},
    {R"("truncate_prompt_tokens":"all")", "truncate_prompt_tokens"},
    {R"("n":3,"best_of":2)", "best_of"},
    {R"("best_of":17)", "best_of"},
    {R"("best_of":2,"stream":true)", "best_of"},
    {R"("suffix":"end")", "suffix"},
    {R"("modalities":["audio"])", "modalities"},
    {R"("use_beam_search":true)", "use_beam_search"},
    {R"("guided_json":5)", "guided_json"},
    {R"("temprature":1)", "temprature"},
    {R"("timeout":0)", "timeout"},
    {R"("timeout":-5)", "timeout"},
    {R"("timeout":1e7)", "timeout"},
    {R"("timeout":"5")", "timeout"},
};

constexpr BadCase kBadInChat[] = {
    {R"("logprobs":3)", "logprobs"},
    {R"("logprobs":true,"top_logprobs":21)", "top_logprobs"},
    {R"("logprobs":true,"top_logprobs":"a")", "top_logprobs"},
    {R"("top_logprobs":2)", "top_logprobs"},
    {R"("echo":true)", "echo"},
    {R"("add_generation_prompt":1)", "add_generation_prompt"},
    {R"("continue_final_message":true)", "continue_final_message"},
    {R"("continue_final_message":true,"add_generation_prompt":true)", "add_generation_prompt"},
    {R"("chat_template_kwargs":[])", "chat_template_kwargs"},
    {R"("chat_template_kwargs":{"messages":[]})", "chat_template_kwargs.messages"},
    {R"("messages":[])", "messages"},
    {R"("messages":null)", "messages"},
    {R"("messages":"hi")", "messages"},
    {R"("messages":[5])", "messages[0]"},
    {R"("messages":[{"content":"a"}])", "messages[0].role"},
    {R"("messages":[{"role":"king","content":"a"}])", "messages[0].role"},
    {R"("messages":[{"role":5,"content":"a"}])", "messages[0].role"},
    {R"("messages":[{"role":"user"}])", "messages[0].content"},
    {R"("messages":[{"role":"user","content":5}])", "messages[0].content"},
    {R"("messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}])", "messages[0].content[0]"},
    {R"("messages":[{"role":"user","content":"a"},{"role":"user","content":["a"]}])", "messages[1].content[0]"},
    {R"("messages":[{"role":"assistant","tool_calls":[{}]}])", "messages[0].tool_calls[0].function"},
    {R"("messages":[{"role":"user","content":"a","mood":1}])", "messages[0].mood"},
    {R"("prompt":"x")", "prompt"},
};

constexpr BadCase kBadInCompletion[] = {
    {R"("tools":[{"type":"function"}])", "tools"},
    {R"("tool_choice":"auto")", "tool_choice"},
    {R"("max_tokens":0)", "max_tokens"},
    {R"("logprobs":21)", "logprobs"},
    {R"("logprobs":-1)", "logprobs"},
    {R"("logprobs":"1")", "logprobs"},
    {R"("echo":"a")", "echo"},
    {R"("prompt":null)", "prompt"},
    {R"("prompt":[])", "prompt"},
    {R"("prompt":7)", "prompt"},
    {R"("prompt":{})", "prompt"},
    {R"("prompt":[[]])", "prompt"},
    {R"("prompt":["a",[1]])", "prompt"},
    {R"("prompt":[1,"a"])", "prompt"},
    {R"("prompt":[1,263])", "prompt"},
    {R"("prompt":[1,-1])", "prompt"},
    {R"("prompt":[1,0.5])", "prompt"},
    {R"("prompt":[[1],[1e300]])", "prompt[1]"},
    {R"("prompt":["a","a","a","a","a","a","a","a","a"],"n":15)", "n"},
    {R"("messages":[])", "messages"},
};

template <typename Prepare, typename Cases>
void expect_all_refused(Prepare prepare, const Cases& cases) {
  for (const BadCase& bad : cases) {
    const auto result = prepare(bad.member);
    ASSERT_TRUE(result.has_error()) << bad.member;
    EXPECT_EQ(result.error().http_status, 400) << bad.member;
    EXPECT_EQ(result.error().param, bad.param) << bad.member << ": " << result.error().message;
    EXPECT_FALSE(result.error().message.empty()) << bad.member;
  }
}

TEST(Parameters, WrongTypesAndRangesAreRefusedByName) {
  expect_all_refused(chat, kBadInBoth);
  expect_all_refused(completion, kBadInBoth);
  expect_all_refused(chat, kBadInChat);
  expect_all_refused(completion, kBadInCompletion);
}

TEST(Parameters, NullEqualsAbsent) {
  constexpr std::string_view kNames[] = {"model",
                                         "max_tokens",
                                         "max_completion_tokens",
                                         "temperature",
                                         "top_p",
                                         "top_k",
                                         "min_p",
                                         "typical_p",
                                         "n",
                                         "stop",
                                         "stop_token_ids",
                                         "seed",
                                         "presence_penalty",
                                         "frequency_penalty",
                                         "repetition_penalty",
                                         "stream",
                                         "stream_options",
                                         "ignore_eos",
                                         "min_tokens",
                                         "priority",
                                         "skip_special_tokens",
                                         "include_stop_str_in_output",
                                         "return_token_ids",
                                         "tools",
                                         "tool_choice",
                                         "functions",
                                         "response_format",
                                         "structured_outputs",
                                         "guided_json",
                                         "guided_regex",
                                         "guided_choice",
                                         "guided_grammar",
                                         "logit_bias",
                                         "allowed_token_ids",
                                         "bad_words",
                                         "truncate_prompt_tokens",
                                         "prompt_logprobs",
                                         "best_of",
                                         "suffix",
                                         "logprobs",
                                         "echo",
                                         "user",
                                         "anything_at_all"};
  for (const auto name : kNames) {
    const std::string member = fmt::format(R"("{}":null)", name);
    for (const auto& result : {chat(member), completion(member)}) {
      ASSERT_TRUE(result.has_value()) << member << ": " << result.error().message;
      SamplingParams expected;
      expected.seed = result->params.sampling.seed;
      expected.max_tokens = result->params.sampling.max_tokens;
      EXPECT_EQ(result->params.sampling, expected) << member;
      EXPECT_EQ(result->params.num_choices, 1);
      EXPECT_TRUE(result->params.stop.empty());
    }
  }
}

TEST(Parameters, GoodValuesArrive) {
  const auto result = completion(
      R"("model":"small","max_tokens":7,"temperature":0.5,"top_p":0.25,"top_k":-1,"min_p":0.125,"typical_p":0.75,"n":3,
         "stop":["x","yy"],"stop_token_ids":[1,2],"seed":-5,"presence_penalty":-2,"frequency_penalty":2,
         "repetition_penalty":1.5,"stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true},
         "ignore_eos":true,"min_tokens":3,"priority":-4,"skip_special_tokens":false,"include_stop_str_in_output":true,
         "return_token_ids":true,"logprobs":2,"echo":true,"best_of":3,"suffix":"","logit_bias":{"5":1.5,"7":-100},
         "allowed_token_ids":[7,5],"bad_words":["x"],"truncate_prompt_tokens":1000,"tools":[],
         "tool_choice":"none","response_format":{"type":"text"},"user":"me","store":true,"metadata":{"a":1})");
  ASSERT_TRUE(result.has_value()) << result.error().message;
  SamplingParams expected;
  expected.temperature = 0.5f;
  expected.top_k = -1;
  expected.top_p = 0.25f;
  expected.min_p = 0.125f;
  expected.typical_p = 0.75f;
  expected.repetition_penalty = 1.5f;
  expected.presence_penalty = -2;
  expected.frequency_penalty = 2;
  expected.seed = static_cast<uint64_t>(int64_t{-5});
  expected.max_tokens = 7;
  expected.min_tokens = 3;
  expected.ignore_eos = true;
  expected.stop_token_ids = {1, 2};
  expected.logit_bias = {{5, 1.5f}, {7, -100}};
  expected.allowed_token_ids = {7, 5};
  expected.bad_words = {small_model()->tokenizer->encode("x", {}), small_model()->tokenizer->encode(" x", {})};
  expected.num_logprobs = 2;
  expected.num_prompt_logprobs = 2;
  const GenerationParams& params = result->params;
  EXPECT_EQ(params.sampling, expected);
  EXPECT_EQ(params.num_choices, 3);
  EXPECT_EQ(params.priority, -4);
  EXPECT_EQ(params.user, "me");
  EXPECT_EQ(params.stop, (std::vector<std::string>{"x", "yy"}));
  EXPECT_TRUE(params.stream && params.include_usage && params.continuous_usage && params.include_stop);
  EXPECT_TRUE(params.return_token_ids && !params.skip_special_tokens && result->echo);
}

TEST(Parameters, LongPromptsAreCutAtTheirBeginningWhereTheClientSaysSo) {
  const auto setup = [](std::string_view body, bool add_bos) {
    auto result = prepare_completion(body, small_model(add_bos));
    EXPECT_TRUE(result.has_value()) << result.error().message;
    return result->prompts.at(0);
  };
  const AnswerPrompt cut = setup(R"({"prompt":"abcdef","truncate_prompt_tokens":4,"echo":true})", true);
  EXPECT_EQ(cut.tokens, (std::vector<TokenId>{262, 'd', 'e', 'f'})) << "the BOS that was added stays";
  EXPECT_EQ(cut.text, "def");
  EXPECT_EQ(cut.num_added, 1u);
  const AnswerPrompt ids = setup(R"({"prompt":[97,98,99],"truncate_prompt_tokens":1})", false);
  EXPECT_EQ(ids.tokens, (std::vector<TokenId>{99}));
  EXPECT_EQ(setup(R"({"prompt":"abc","truncate_prompt_tokens":3})", false).tokens.size(), 3u) << "it fits";
  const std::string longer(kSmallContext + 100, 'x');
  const AnswerPrompt all =
      setup(fmt::format(R"({{"prompt":"{}","truncate_prompt_tokens":-1,"max_tokens":7}})", longer), false);
  EXPECT_EQ(all.tokens.size(), static_cast<size_t>(kSmallContext - 7)) << "as many as there is room for";
  const auto chat_result = chat(R"("truncate_prompt_tokens":2,"max_tokens":1)");
  ASSERT_TRUE(chat_result.has_value()) << chat_result.error().message;
  EXPECT_EQ(chat_result->prompts.at(0).tokens.size(), 2u);
}

TEST(Parameters, IntegersMayBeWrittenAsFloats) {
  const auto result = completion(R"("max_tokens":5.0,"n":2.0,"top_k":3e0)");
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_EQ(result->params.sampling.max_tokens, 5);
  EXPECT_EQ(result->params.num_choices, 2);
}

TEST(Parameters, LogprobsOfACompletionMayBeTrueForOne) {
  const auto on = completion(R"("logprobs":true,"echo":true)"), off = completion(R"("logprobs":false)");
  ASSERT_TRUE(on.has_value() && off.has_value());
  EXPECT_EQ(on->params.sampling.num_logprobs, 1);
  EXPECT_EQ(on->params.sampling.num_prompt_logprobs, 1);
  EXPECT_EQ(off->params.sampling.num_logprobs, -1);
}

TEST(Parameters, DefaultsComeFromTheModel) {
  auto model = std::make_shared<ModelInfo>(*small_model());
  model->default_sampling.temperature = 0.25f;
  model->default_sampling.top_k = 40;
  const auto unset = prepare_completion(completion_with(""), model);
  const auto set = prepare_completion(completion_with(R"("temperature":1)"), model);
  ASSERT_TRUE(unset.has_value() && set.has_value());
  EXPECT_EQ(unset->params.sampling.temperature, 0.25f);
  EXPECT_EQ(unset->params.sampling.top_k, 40);
  EXPECT_EQ(set->params.sampling.temperature, 1.0f);
  EXPECT_EQ(unset->params.sampling.max_tokens, kDefaultMaxTokens);
}

TEST(Parameters, ARequestWithoutSeedGetsOneOfItsOwn) {
  const auto first = completion(""), second = completion("");
  ASSERT_TRUE(first.has_value() && second.has_value());
  EXPECT_NE(first->params.sampling.seed, second->params.sampling.seed);
  EXPECT_LT(first->params.sampling.seed, uint64_t{1} << 53);
}

TEST(Parameters, AnotherModelIs404) {
  for (const auto& result : {chat(R"("model":"gpt-4")"), completion(R"("model":"gpt-4")")}) {
    ASSERT_TRUE(result.has_error());
    EXPECT_EQ(result.error().http_status, 404);
    EXPECT_EQ(result.error().code, "model_not_found");
    EXPECT_EQ(result.error().param, "model");
  }
}

TEST(Parameters, PromptsComeInFourForms) {
  const auto model = small_model();
  const auto tokens_of = [&](std::string_view prompt) {
    const auto result = prepare_completion(fmt::format(R"({{"prompt":{}}})", prompt), model);
    std::vector<std::vector<TokenId>> all;
    if (result.has_value()) {
      for (const auto& one : result->prompts) all.push_back(one.tokens);
    }
    return all;
  };
  using Lists = std::vector<std::vector<TokenId>>;
  EXPECT_EQ(tokens_of(R"("ab")"), (Lists{{'a', 'b'}}));
  EXPECT_EQ(tokens_of(R"(["ab","c"])"), (Lists{{'a', 'b'}, {'c'}}));
  EXPECT_EQ(tokens_of("[5,6]"), (Lists{{5, 6}}));
  EXPECT_EQ(tokens_of("[[5,6],[7]]"), (Lists{{5, 6}, {7}}));
}

TEST(Parameters, APromptThatDoesNotFitIsContextLengthExceeded) {
  const std::string longer(testing::kSmallContext, 'z');
  const auto exact = fmt::format(R"({{"prompt":"{}","max_tokens":1}})", longer.substr(1));
  EXPECT_TRUE(prepare_completion(exact, small_model()).has_value());
  for (const auto& result :
       {prepare_completion(fmt::format(R"({{"prompt":"{}"}})", longer), small_model()),
        prepare_completion(fmt::format(R"({{"prompt":"{}","max_tokens":2}})", longer.substr(1)), small_model()),
        prepare_completion(fmt::format(R"({{"prompt":"{}"}})", std::string(2 << 20, 'z')), small_model())}) {
    ASSERT_TRUE(result.has_error());
    EXPECT_EQ(result.error().code, "context_length_exceeded");
    EXPECT_NE(result.error().message.find("maximum context length is 4096 tokens"), std::string::npos);
  }
}

TEST(Parameters, ChatsRunToTheEndOfTheContext) {
  const auto result = chat("");
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->params.sampling.max_tokens,
            testing::kSmallContext - static_cast<int>(result->prompts[0].tokens.size()));
}

TEST(Parameters, ChatsAreRenderedWithMarkersAsSingleTokensAndNoSecondBos) {
  const auto result = prepare_chat(chat_with(""), small_model(true));
  ASSERT_TRUE(result.has_value()) << result.error().message;
  const auto& tokens = result->prompts[0].tokens;
  EXPECT_EQ(tokens.front(), testing::kStartMarker);
  EXPECT_EQ(std::count(tokens.begin(), tokens.end(), testing::kStartMarker), 2);
  EXPECT_EQ(std::count(tokens.begin(), tokens.end(), testing::kEndToken), 1);
  const auto text = small_model()->tokenizer->decode(tokens, {.skip_special = false});
  EXPECT_EQ(text, "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n");
}

TEST(Parameters, CompletionsGetTheModelsBos) {
  const auto with = prepare_completion(completion_with(""), small_model(true));
  const auto without = prepare_completion(completion_with(R"("add_special_tokens":false)"), small_model(true));
  ASSERT_TRUE(with.has_value() && without.has_value());
  EXPECT_EQ(with->prompts[0].tokens.front(), testing::kBosToken);
  EXPECT_EQ(with->prompts[0].num_added, 1u);
  EXPECT_NE(without->prompts[0].tokens.front(), testing::kBosToken);
}

TEST(Parameters, TextPartsAreJoinedAndDevelopersSpeakAsSystem) {
  const auto body = json::parse(
      R"({"messages":[{"role":"developer","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
                      {"role":"assistant","content":null,"refusal":null,"tool_calls":[]}]})");
  const auto result = parse_chat_request(body.as_object(), *small_model());
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_EQ(json::serialize(result->conversation.messages),
            R"([{"role":"system","content":"a\nb"},{"role":"assistant","content":""}])");
}

TEST(Parameters, AFinalMessageIsContinuedWhereItEnds) {
  const auto result = prepare_chat(
      R"({"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"Once upon"}],
          "continue_final_message":true})",
      small_model());
  ASSERT_TRUE(result.has_value()) << result.error().message;
  const auto text = small_model()->tokenizer->decode(result->prompts[0].tokens, {.skip_special = false});
  EXPECT_EQ(text, "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nOnce upon");
}

TEST(Parameters, TokenizeTakesAPromptOrMessages) {
  const auto model = small_model(true);
  const auto prompt = answer_tokenize(R"({"prompt":"ab","return_token_strs":true})", *model);
  ASSERT_TRUE(prompt.has_value()) << prompt.error().message;
  EXPECT_EQ(json::serialize(*prompt),
            R"({"count":3,"max_model_len":4096,"tokens":[262,97,98],"token_strs":["<s>","a","b"]})");
  const auto messages = answer_tokenize(R"({"messages":[{"role":"user","content":"x"}]})", *model);
  ASSERT_TRUE(messages.has_value());
  EXPECT_EQ(messages->at("tokens").as_array().front().as_int64(), testing::kStartMarker);
  const auto text = answer_detokenize(R"({"tokens":[262,97,98]})", *model);
  ASSERT_TRUE(text.has_value());
  EXPECT_EQ(json::serialize(*text), R"({"prompt":"<s>ab"})");
  for (const auto* bad : {R"({})", R"({"prompt":5})", R"({"prompt":"a","messages":[]})", R"({"prompt":"a","x":1})"})
    EXPECT_TRUE(answer_tokenize(bad, *model).has_error()) << bad;
  for (const auto* bad : {R"({})", R"({"tokens":"a"})", R"({"tokens":[999]})", R"({"tokens":[1],"x":1})"})
    EXPECT_TRUE(answer_detokenize(bad, *model).has_error()) << bad;
}

TEST(Parameters, BodiesThatAreNoJsonObjectAreRefused) {
  const std::string deep = std::string(100, '[') + std::string(100, ']');
  for (const std::string& body :
       {std::string(), std::string("{"), std::string("[]"), std::string("5"), std::string("{} {}"), std::string("\xff"),
        std::string("{\"a\":\"\xff\"}"), R"({"a":)" + deep + "}", std::string("{'a':1}"), std::string("{\"a\":NaN}")}) {
    const auto result = parse_json_object(body);
    ASSERT_TRUE(result.has_error()) << body;
    EXPECT_EQ(result.error().http_status, 400);
    EXPECT_EQ(result.error().code, "invalid_json");
  }
}

TEST(Parameters, AJsonBombIsRefusedBeforeItFillsTheMemory) {
  std::string bomb = "{\"a\":[";
  while (bomb.size() < (size_t{24} << 20)) bomb += "[[]],";
  bomb += "0]}";
  const auto result = parse_json_object(bomb);
  ASSERT_TRUE(result.has_error());
  EXPECT_EQ(result.error().code, "json_too_large");
}

}  // namespace
}  // namespace echelon
