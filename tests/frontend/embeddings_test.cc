// /v1/embeddings, /score and /rerank: their parameters as pure functions, their arithmetic, and the server with a
// scripted engine.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <limits>
#include <numeric>

#include "frontend/embeddings/embeddings_request.h"
#include "frontend/embeddings/score_request.h"
#include "frontend/embeddings/vector_answer.h"
#include "frontend/embeddings/vector_use.h"
#include "frontend/embeddings/vectors.h"
#include "frontend/front_end.h"
#include "frontend/generation.h"
#include "tests/frontend/front_end_test.h"
#include "tests/frontend/http_client.h"
#include "tests/frontend/script_engine.h"

namespace echelon {
namespace {

namespace json = boost::json;
using testing::ask;
using testing::becomes_true;
using testing::HttpClient;
using testing::kSmallContext;
using testing::kSmallHidden;
using testing::post_text;
using testing::scripted_vector;
using testing::ScriptEngine;
using testing::small_model;

RequestResult<AnswerSetup> embed(std::string_view members) {
  return prepare_embeddings(fmt::format("{{{}}}", members), small_model());
}
RequestResult<AnswerSetup> score(std::string_view members) {
  return prepare_score(fmt::format("{{{}}}", members), small_model());
}
RequestResult<AnswerSetup> rerank(std::string_view members) {
  return prepare_rerank(fmt::format("{{{}}}", members), small_model());
}

struct BadCase {
  std::string_view member, param;
};

/// Members that all three have.
constexpr BadCase kBadInAll[] = {
    {R"("model":5)", "model"},
    {R"("pooling":"cls")", "pooling"},
    {R"("pooling":1)", "pooling"},
    {R"("truncate_prompt_tokens":0)", "truncate_prompt_tokens"},
    {R"("truncate_prompt_tokens":-2)", "truncate_prompt_tokens"},
    {R"("truncate_prompt_tokens":"all")", "truncate_prompt_tokens"},
    {R"("add_special_tokens":1)", "add_special_tokens"},
    {R"("priority":3000000000)", "priority"},
    {R"("priority":"high")", "priority"},
    {R"("user":5)", "user"},
    {R"("cache_salt":[])", "cache_salt"},
    {R"("timeout":0)", "timeout"},
    {R"("timeout":"5")", "timeout"},
    {R"("temperature":1)", "temperature"},
    {R"("stream":true)", "stream"},
    {R"("max_tokens":5)", "max_tokens"},
    {R"("n":2)", "n"},
};

constexpr BadCase kBadEmbeddings[] = {
    {R"("input":5)", "input"},
    {R"("input":[])", "input"},
    {R"("input":{})", "input"},
    {R"("input":[[]])", "input"},
    {R"("input":["a",[1]])", "input"},
    {R"("input":[1,263])", "input"},
    {R"("input":[[1],[-1]])", "input[1]"},
    {R"("input":"")", "input"},
    {R"("input":["a",""])", "input"},
    {R"("input":null)", "input"},
    {R"("input":"a","dimensions":0)", "dimensions"},
    {R"("input":"a","dimensions":9)", "dimensions"},
    {R"("input":"a","dimensions":1.5)", "dimensions"},
    {R"("input":"a","dimensions":"8")", "dimensions"},
    {R"("input":"a","encoding_format":"hex")", "encoding_format"},
    {R"("input":"a","encoding_format":2)", "encoding_format"},
    {R"("input":"a","normalize":"yes")", "normalize"},
    {R"("input":"a","prompt":"a")", "prompt"},
    {R"("input":"a","text_1":"a")", "text_1"},
};

constexpr BadCase kBadScore[] = {
    {R"("text_1":"a")", "text_2"},
    {R"("text_2":"a")", "text_1"},
    {R"("text_1":5,"text_2":"a")", "text_1"},
    {R"("text_1":"a","text_2":[])", "text_2"},
    {R"("text_1":"a","text_2":["a",5])", "text_2"},
    {R"("text_1":["a","b"],"text_2":["a","b","c"])", "text_2"},
    {R"("text_1":["a","b"],"text_2":"a")", "text_2"},
    {R"("text_1":"a","text_2":["a",""])", "text_2"},
    {R"("text_1":"","text_2":"a")", "text_1"},
    {R"("text_1":"a","text_2":"b","dimensions":4)", "dimensions"},
};

constexpr BadCase kBadRerank[] = {
    {R"("query":"a")", "documents"},
    {R"("documents":["a"])", "query"},
    {R"("query":["a"],"documents":["a"])", "query"},
    {R"("query":"a","documents":"a")", "documents"},
    {R"("query":"a","documents":[])", "documents"},
    {R"("query":"a","documents":["a",5])", "documents[1]"},
    {R"("query":"a","documents":[{}])", "documents[0].text"},
    {R"("query":"a","documents":[{"text":5}])", "documents[0].text"},
    {R"("query":"a","documents":[{"text":"b","title":"c"}])", "documents[0].title"},
    {R"("query":"a","documents":["a"],"top_n":-1)", "top_n"},
    {R"("query":"a","documents":["a"],"top_n":"1")", "top_n"},
    {R"("query":"a","documents":["a"],"return_documents":1)", "return_documents"},
    {R"("query":"a","documents":[""])", "documents"},
};

template <typename Prepare, typename Cases>
void expect_all_refused(Prepare prepare, std::string_view good, const Cases& cases) {
  for (const BadCase& bad : cases) {
    const auto result = prepare(good.empty() ? std::string(bad.member) : fmt::format("{},{}", good, bad.member));
    ASSERT_TRUE(result.has_error()) << bad.member;
    EXPECT_EQ(result.error().http_status, 400) << bad.member;
    EXPECT_EQ(result.error().param, bad.param) << bad.member << ": " << result.error().message;
    EXPECT_FALSE(result.error().message.empty()) << bad.member;
  }
}

constexpr std::string_view kGoodInput = R"("input":"a")", kGoodPair = R"("text_1":"a","text_2":"b")",
                           kGoodQuery = R"("query":"a","documents":["b"])";

TEST(EmbeddingParameters, WrongTypesAndRangesAreRefusedByName) {
  expect_all_refused(embed, kGoodInput, kBadInAll);
  expect_all_refused(score, kGoodPair, kBadInAll);
  expect_all_refused(rerank, kGoodQuery, kBadInAll);
  expect_all_refused(embed, "", kBadEmbeddings);
  expect_all_refused(score, "", kBadScore);
  expect_all_refused(rerank, "", kBadRerank);
}

TEST(EmbeddingParameters, NullEqualsAbsentAndHarmlessOnesAreIgnored) {
  for (const std::string_view name :
       {"model", "pooling", "truncate_prompt_tokens", "add_special_tokens", "priority", "user", "cache_salt", "timeout",
        "dimensions", "encoding_format", "normalize", "top_n", "return_documents", "anything_at_all"}) {
    const std::string member = fmt::format(R"(,"{}":null,"metadata":{{}})", name);
    for (const auto& result : {embed(std::string(kGoodInput) + member), score(std::string(kGoodPair) + member),
                               rerank(std::string(kGoodQuery) + member)}) {
      ASSERT_TRUE(result.has_value()) << member << ": " << result.error().message;
      EXPECT_EQ(result->params.pooling, Pooling::last);
      EXPECT_TRUE(result->vectors->normalize && !result->vectors->base64);
      EXPECT_EQ(result->vectors->dimensions, 0);
    }
  }
}

TEST(EmbeddingParameters, GoodValuesArrive) {
  const auto result = embed(R"("model":"small","input":["ab",[5]],"pooling":"mean","normalize":false,"dimensions":8,
      "encoding_format":"base64","priority":-4,"user":"me","timeout":2,"cache_salt":"s")");
  ASSERT_TRUE(result.has_error()) << "texts and ids in one list";
  const auto good = embed(R"("model":"small","input":["ab","c"],"pooling":"mean","normalize":false,"dimensions":8,
      "encoding_format":"base64","priority":-4,"user":"me","timeout":2,"cache_salt":"s")");
  ASSERT_TRUE(good.has_value()) << good.error().message;
  EXPECT_EQ(good->params.pooling, Pooling::mean);
  EXPECT_EQ(good->params.priority, -4);
  EXPECT_EQ(good->params.user, "me");
  EXPECT_EQ(good->params.cache_salt, "s");
  EXPECT_EQ(good->params.timeout, std::chrono::milliseconds(2000));
  EXPECT_EQ(good->vectors->dimensions, 8);
  EXPECT_TRUE(good->vectors->base64 && !good->vectors->normalize);
  ASSERT_EQ(good->prompts.size(), 2u);
  EXPECT_EQ(good->prompts[0].tokens, (std::vector<TokenId>{'a', 'b'}));
  EXPECT_EQ(good->prompts[1].tokens, (std::vector<TokenId>{'c'}));
  const auto other = embed(R"("model":"gpt-4","input":"a")");
  ASSERT_TRUE(other.has_error());
  EXPECT_EQ(other.error().http_status, 404);
  EXPECT_EQ(other.error().code, "model_not_found");
}

TEST(EmbeddingParameters, InputsMayFillTheContextAndAreCutWhereTheClientSaysSo) {
  const auto of = [](size_t length, std::string_view more) {
    return embed(fmt::format(R"("input":"{}"{})", std::string(length, 'z'), more));
  };
  EXPECT_TRUE(of(kSmallContext, "").has_value()) << "no room for output is needed";
  for (const size_t length : {size_t{kSmallContext} + 1, size_t{2} << 20}) {
    const auto result = of(length, "");
    ASSERT_TRUE(result.has_error());
    EXPECT_EQ(result.error().code, "context_length_exceeded");
    EXPECT_EQ(result.error().param, "input");
    EXPECT_NE(result.error().message.find("maximum context length is 4096 tokens"), std::string::npos);
  }
  EXPECT_EQ(of(kSmallContext + 5, R"(,"truncate_prompt_tokens":-1)")->prompts.at(0).tokens.size(),
            size_t{kSmallContext});
  EXPECT_EQ(of(50, R"(,"truncate_prompt_tokens":7)")->prompts.at(0).tokens.size(), 7u);
  const auto with_bos = prepare_embeddings(R"({"input":"ab"})", small_model(true));
  const auto without = prepare_embeddings(R"({"input":"ab","add_special_tokens":false})", small_model(true));
  EXPECT_EQ(with_bos->prompts.at(0).tokens, (std::vector<TokenId>{testing::kBosToken, 'a', 'b'}));
  EXPECT_EQ(without->prompts.at(0).tokens, (std::vector<TokenId>{'a', 'b'}));
  std::string many = R"("input":["a")";
  for (size_t i = 0; i < kMaxInputs; ++i) many += R"(,"a")";
  EXPECT_TRUE(embed(many + "]").has_error());
}

TEST(Vectors, AreCutNormalisedAndComparedInDouble) {
  EXPECT_EQ(shaped(std::vector<float>{3, 4, 12}, 0, false), (std::vector<float>{3, 4, 12}));
  EXPECT_EQ(shaped(std::vector<float>{3, 4, 12}, 2, false), (std::vector<float>{3, 4}));
  EXPECT_EQ(shaped(std::vector<float>{3, 4, 12}, 2, true), (std::vector<float>{0.6f, 0.8f}));
  EXPECT_EQ(shaped(std::vector<float>{0, 0}, 0, true), (std::vector<float>{0, 0}));
  EXPECT_EQ(shaped(std::vector<float>{3e38f, 3e38f}, 0, true).at(0), static_cast<float>(std::sqrt(0.5)));
  EXPECT_EQ(cosine(std::vector<float>{1, 2}, std::vector<float>{2, 4}), 1.0);
  EXPECT_EQ(cosine(std::vector<float>{1, 2}, std::vector<float>{-1, -2}), -1.0);
  EXPECT_EQ(cosine(std::vector<float>{1, 0}, std::vector<float>{0, 1}), 0.0);
  EXPECT_EQ(cosine(std::vector<float>{1, 0}, std::vector<float>{0, 0}), 0.0);
}

TEST(Vectors, Base64IsRfc4648s) {
  const auto of = [](std::string_view text) {
    return base64(std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
  };
  EXPECT_EQ(of(""), "");
  EXPECT_EQ(of("f"), "Zg==");
  EXPECT_EQ(of("fo"), "Zm8=");
  EXPECT_EQ(of("foo"), "Zm9v");
  EXPECT_EQ(of("foobar"), "Zm9vYmFy");
  EXPECT_EQ(of("\xff\xfe\xfd"), "//79");
  EXPECT_EQ(base64_of_floats(std::vector<float>{1.0f}), "AACAPw==") << "little-endian";
}

TEST(VectorAnswers, APromptThatEndsWithoutItsVectorIsAnError) {
  for (const FinishReason reason : {FinishReason::stop, FinishReason::abort, FinishReason::length}) {
    for (const size_t num_values : {0, kSmallHidden - 1}) {
      auto setup = embed(R"("input":["a","b"])");
      ASSERT_TRUE(setup.has_value());
      EmbeddingsAnswer answer(std::move(*setup));
      answer.add(0, {.tokens = {}, .finish = FinishReason::stop, .pooled = std::vector<float>(kSmallHidden, 1.0f)});
      EXPECT_FALSE(answer.done());
      answer.add(1, {.tokens = {}, .finish = reason, .pooled = std::vector<float>(num_values, 1.0f)});
      EXPECT_TRUE(answer.done());
      EXPECT_TRUE(answer.error().has_value());
    }
  }
  auto setup = embed(R"("input":"a")");
  EmbeddingsAnswer late(std::move(*setup));
  late.add(0, {.tokens = {}, .finish = FinishReason::timeout, .refusal = RequestError{.http_status = 408}});
  ASSERT_TRUE(late.refusal().has_value());
  EXPECT_EQ(late.refusal()->http_status, 408);
}

class Embeddings : public testing::FrontEndTest {
 protected:
  json::value answer_to(std::string_view path, std::string_view body) {
    const auto response = ask(port_, post_text(std::string(path), std::string(body)));
    EXPECT_EQ(response.status, 200) << response.body;
    return response.json();
  }
};

std::vector<float> floats_of(const json::value& array) {
  std::vector<float> values;
  for (const json::value& value : array.as_array()) values.push_back(value.to_number<float>());
  return values;
}

TEST_F(Embeddings, AreOpenAisList) {
  start();
  const auto answer = answer_to("/v1/embeddings", R"({"model":"small","input":["ab","c"]})");
  EXPECT_EQ(answer.at("object"), "list");
  EXPECT_EQ(answer.at("model"), "small");
  EXPECT_EQ(answer.at("usage"), json::parse(R"({"prompt_tokens":3,"total_tokens":3})"));
  ASSERT_EQ(answer.at("data").as_array().size(), 2u);
  const std::vector<std::vector<TokenId>> prompts = {{'a', 'b'}, {'c'}};
  for (size_t i = 0; i < 2; ++i) {
    const json::value& one = answer.at("data").at(i);
    EXPECT_EQ(one.at("object"), "embedding");
    EXPECT_EQ(one.at("index"), i);
    const std::vector<float> values = floats_of(one.at("embedding"));
    EXPECT_EQ(values, shaped(scripted_vector(prompts[i], Pooling::last), 0, true));
    EXPECT_NEAR(std::inner_product(values.begin(), values.end(), values.begin(), 0.0), 1, 1e-6);
  }
  EXPECT_EQ(engine_.num_submitted, 2);
  EXPECT_EQ(engine_.last_request().pooling, Pooling::last);
}

TEST_F(Embeddings, AreShapedAsTheClientSays) {
  start();
  const auto of = [&](std::string_view members) {
    return answer_to("/v1/embeddings", fmt::format(R"({{"input":[97,98]{}}})", members))
        .at("data")
        .at(0)
        .at("embedding");
  };
  const std::vector<float> last = scripted_vector({97, 98}, Pooling::last),
                           mean = scripted_vector({97, 98}, Pooling::mean);
  ASSERT_NE(last, mean);
  EXPECT_EQ(floats_of(of(R"(,"normalize":false)")), last);
  EXPECT_EQ(floats_of(of(R"(,"normalize":false,"pooling":"mean")")), mean);
  EXPECT_EQ(floats_of(of(R"(,"dimensions":3)")), shaped(last, 3, true));
  EXPECT_EQ(floats_of(of(R"(,"dimensions":3,"normalize":false)")), shaped(last, 3, false));
  EXPECT_EQ(of(R"(,"encoding_format":"base64")"), json::value(base64_of_floats(shaped(last, 0, true))));
  EXPECT_EQ(floats_of(of(R"(,"encoding_format":"float")")), shaped(last, 0, true));
}

TEST_F(Embeddings, ManyInputsAreInTheEngineAFewAtATime) {
  start();
  engine_.max_requests = static_cast<int>(kMaxAtOnce);  // beyond it refuses
  json::array inputs;
  for (int i = 0; i < 300; ++i) inputs.push_back(json::array{1 + i % 200, 1 + i / 200});
  const auto answer = ask(port_, post_text("/v1/embeddings", json::serialize(json::object{{"input", inputs}})));
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.json().at("data").as_array().size(), 300u);
  EXPECT_EQ(answer.json().at("usage").at("prompt_tokens"), 600);
  EXPECT_EQ(engine_.num_submitted, 300);
}

TEST_F(Embeddings, ScoresAreCosinesOfPairs) {
  start();
  const auto vector_of = [](TokenId token) { return scripted_vector({token}, Pooling::last); };
  for (const auto* path : {"/score", "/v1/score"}) {
    const auto one_to_many = answer_to(path, R"({"text_1":"a","text_2":["b","c","a"]})");
    ASSERT_EQ(one_to_many.at("data").as_array().size(), 3u);
    EXPECT_EQ(one_to_many.at("data").at(1).at("score").as_double(), cosine(vector_of('a'), vector_of('c')));
    EXPECT_EQ(one_to_many.at("data").at(2).at("score").to_number<double>(), 1.0);
    EXPECT_EQ(one_to_many.at("data").at(2).at("index"), 2);
    EXPECT_EQ(one_to_many.at("data").at(2).at("object"), "score");
    EXPECT_EQ(one_to_many.at("usage").at("prompt_tokens"), 4) << "text_1 is run once";
  }
  const auto pairs = answer_to("/score", R"({"text_1":["a","b"],"text_2":["c","d"]})");
  ASSERT_EQ(pairs.at("data").as_array().size(), 2u);
  EXPECT_EQ(pairs.at("data").at(0).at("score").as_double(), cosine(vector_of('a'), vector_of('c')));
  EXPECT_EQ(pairs.at("data").at(1).at("score").as_double(), cosine(vector_of('b'), vector_of('d')));
  EXPECT_EQ(answer_to("/score", R"({"text_1":"a","text_2":"b"})").at("data").as_array().size(), 1u);
}

TEST_F(Embeddings, RankingsAreSortedCutAndRepeatTheirDocuments) {
  start();
  const auto vector_of = [](TokenId token) { return scripted_vector({token}, Pooling::last); };
  for (const auto* path : {"/rerank", "/v1/rerank", "/v2/rerank"}) {
    const auto all = answer_to(path, R"({"model":"small","query":"a","documents":["b","c",{"text":"a"},"d"]})");
    const auto& results = all.at("results").as_array();
    ASSERT_EQ(results.size(), 4u);
    EXPECT_EQ(results[0].at("index"), 2) << "the same text is the nearest";
    double before = 2;
    for (const json::value& result : results) {
      const auto token = result.at("document").at("text").as_string().at(0);
      EXPECT_EQ(token, "bcad"[result.at("index").to_number<size_t>()]);
      EXPECT_EQ(result.at("relevance_score").to_number<double>(), cosine(vector_of('a'), vector_of(token)));
      EXPECT_LE(result.at("relevance_score").to_number<double>(), before);
      before = result.at("relevance_score").to_number<double>();
    }
    EXPECT_EQ(all.at("usage").at("total_tokens"), 5);
  }
  const auto best =
      answer_to("/rerank", R"({"query":"a","documents":["b","a","a"],"top_n":2,"return_documents":false})");
  ASSERT_EQ(best.at("results").as_array().size(), 2u);
  EXPECT_EQ(best.at("results").at(0).at("index"), 1) << "of equal ones the earlier is first";
  EXPECT_EQ(best.at("results").at(1).at("index"), 2);
  EXPECT_FALSE(best.at("results").at(0).as_object().contains("document"));
  EXPECT_EQ(answer_to("/rerank", R"({"query":"a","documents":["b"],"top_n":9})").at("results").as_array().size(), 1u);
}

TEST_F(Embeddings, KeysLimitsAndFaultsAreThoseOfTheOtherEndpoints) {
  ServerOptions options;
  options.api_keys = {"key"};
  options.limit_tokens_per_min = 10;
  start(options);
  const auto send = [&](const char* path, std::string_view body, const char* fields) {
    return ask(port_, post_text(path, std::string(body), fields));
  };
  constexpr std::string_view kBody = R"({"input":"abcdef"})";
  for (const auto* path : {"/v1/embeddings", "/score", "/v1/score", "/rerank", "/v1/rerank", "/v2/rerank"})
    EXPECT_EQ(send(path, kBody, "").status, 401) << path;
  constexpr const char* kKey = "Authorization: Bearer key\r\n";
  EXPECT_EQ(send("/rerank", kBody, kKey).status, 400);
  const auto first = send("/v1/embeddings", kBody, kKey);
  EXPECT_EQ(first.status, 200) << first.body;
  EXPECT_EQ(first.field("x-ratelimit-remaining-tokens"), "4");
  EXPECT_EQ(send("/v1/embeddings", kBody, kKey).status, 200) << "a key may go into debt once";
  EXPECT_EQ(send("/v1/embeddings", kBody, kKey).status, 429);
}

TEST_F(Embeddings, AFaultOfTheEngineIsOneAnswerWithoutItsWords) {
  start();
  engine_.fail_after = 0;
  const auto failed = ask(port_, post_text("/v1/embeddings", R"({"input":["a","b"]})"));
  EXPECT_EQ(failed.status, 500);
  EXPECT_EQ(failed.body.find("secret"), std::string::npos);
  engine_.fail_after = -1;
  engine_.max_requests = 1;
  engine_.paused = true;
  const auto full = ask(port_, post_text("/v1/embeddings", R"({"input":["a","b"]})"));
  EXPECT_EQ(full.status, 429);
  EXPECT_TRUE(becomes_true([&] { return engine_.num_running() == 0; })) << "the input that had room is cancelled";
}

TEST_F(Embeddings, AClientThatLeavesCancelsAllOfItsInputs) {
  start();
  engine_.paused = true;
  {
    HttpClient client(port_);
    client.send(post_text("/v1/embeddings", R"({"input":["a","b","c"]})"));
    ASSERT_TRUE(becomes_true([&] { return engine_.num_running() == 3; })) << "all at the same time";
  }
  EXPECT_TRUE(becomes_true([&] { return engine_.num_running() == 0; }));
  EXPECT_EQ(engine_.num_cancelled, 3);
}

}  // namespace
}  // namespace echelon
