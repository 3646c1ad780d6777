// What response_format, structured_outputs and guided_* ask for, and what is said against what cannot be enforced.
#include "frontend/openai/output_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>

#include "frontend/openai/prepare.h"
#include "frontend/responses/responses_request.h"
#include "tests/frontend/small_model.h"

namespace echelon {
namespace {

using ::testing::HasSubstr;
using testing::small_model;

RequestResult<AnswerSetup> chat(std::string member) {
  return prepare_chat(R"({"messages":[{"role":"user","content":"hello"}],)" + member + "}", small_model());
}

GrammarSource format_of(std::string member) {
  const auto setup = chat(member);
  EXPECT_TRUE(setup.has_value()) << member << (setup.has_error() ? setup.error().message : "");
  if (setup.has_error() || !setup->params.format) return {};
  return *setup->params.format;
}

TEST(OutputFormat, EveryWayToAskForOne) {
  const GrammarSource schema{GrammarKind::json_schema, R"({"type":"integer"})"};
  for (
      const char* member : {
          R"("response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"integer"}}})",
          R"("response_format":{"type":"json_object","schema":{"type":"integer"}})",
          R"("structured_outputs":{"json":{"type":"integer"}})",
          R"("structured_outputs":{"json":"{\"type\":\"integer\"}"})",
          R"("guided_json":{"type":"integer"},"guided_decoding_backend":"xgrammar")",
      })
    EXPECT_EQ(format_of(member), schema) << member;
  const GrammarSource object{GrammarKind::json_object, ""};
  EXPECT_EQ(format_of(R"("response_format":{"type":"json_object"})"), object);
  EXPECT_EQ(format_of(R"("structured_outputs":{"json_object":true})"), object);
  const GrammarSource regex{GrammarKind::regex, "a+"};
  EXPECT_EQ(format_of(R"("structured_outputs":{"regex":"a+","disable_fallback":true})"), regex);
  EXPECT_EQ(format_of(R"("guided_regex":"a+")"), regex);
  const GrammarSource choice{GrammarKind::choice, R"(["a","b"])"};
  EXPECT_EQ(format_of(R"("structured_outputs":{"choice":["a","b"]})"), choice);
  EXPECT_EQ(format_of(R"("guided_choice":["a","b"],"response_format":{"type":"text"})"), choice);
  const GrammarSource gbnf{GrammarKind::gbnf, "root ::= \"a\""};
  EXPECT_EQ(format_of(R"("structured_outputs":{"grammar":"root ::= \"a\""})"), gbnf);
  EXPECT_EQ(format_of(R"("guided_grammar":"root ::= \"a\"")"), gbnf);
  EXPECT_EQ(format_of(R"("response_format":{"type":"text"},"guided_json":null)"), GrammarSource{});
}

TEST(OutputFormat, ResponsesHaveItBesideTheType) {
  const auto setup = prepare_responses(
      R"({"input":"hello","text":{"format":{"type":"json_schema","name":"n","schema":{"type":"null"},"strict":true}}})",
      small_model());
  ASSERT_TRUE(setup.has_value()) << setup.error().message;
  EXPECT_EQ(setup->params.format, (GrammarSource{GrammarKind::json_schema, R"({"type":"null"})"}));
}

std::optional<RequestError> compiled(std::string member) {
  auto setup = chat(member);
  if (setup.has_error()) return setup.error();
  const auto error = compile_output_format(setup->params, *small_model());
  EXPECT_EQ(setup->params.grammar != nullptr, !error.has_value());
  return error;
}

TEST(OutputFormat, WhatCannotBeEnforcedIsRefusedByName) {
  EXPECT_FALSE(compiled(R"("guided_json":{"type":"object","properties":{"a":{"type":"string"}}})"));
  const auto told = [](std::string member) {
    const auto error = compiled(member);
    if (!error) return std::string("nothing");
    EXPECT_EQ(error->http_status, 400);
    EXPECT_EQ(error->code, "invalid_grammar");
    return error->param + " | " + error->message;
  };
  EXPECT_THAT(told(R"("guided_json":{"not":{}})"), HasSubstr("guided_json | guided_json: schema: \"not\""));
  EXPECT_THAT(told(R"("guided_json":"{")"), HasSubstr("not JSON"));
  EXPECT_THAT(told(R"("structured_outputs":{"regex":"(?=a)b"})"), HasSubstr("structured_outputs.regex | "));
  EXPECT_THAT(told(R"("structured_outputs":{"grammar":"x ::= \"a\""})"), HasSubstr("no rule \"root\""));
  EXPECT_THAT(
      told(
          R"("response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"array","uniqueItems":true}}})"),
      HasSubstr("response_format.json_schema.schema | "));
}

TEST(OutputFormat, IsCompiledOnce) {
  const auto model = small_model();
  auto setup = chat(R"("guided_regex":"a+")");
  EXPECT_FALSE(is_output_format_compiled(setup->params, *model));
  EXPECT_FALSE(compile_output_format(setup->params, *model));
  EXPECT_TRUE(is_output_format_compiled(setup->params, *model));
}

}  // namespace
}  // namespace echelon
