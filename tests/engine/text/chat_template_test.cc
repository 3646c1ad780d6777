// Templates render what Python's jinja2 renders, to the byte (tests/golden/make_templates.py), fail where it fails, and
// end with a clear error when they or their input are hostile.
#include "engine/text/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <random>

#include "engine/text/template_evaluator.h"
#include "kernels/base/error.h"
#include "tests/engine/text/model_vocabulary.h"
#include "tests/engine/text/template_oracle.h"

namespace echelon::test {
namespace {

using testing::HasSubstr;

const boost::json::value& golden() {
  static const boost::json::value parsed = boost::json::parse(golden_file("templates-expected.json"));
  return parsed;
}

std::tm golden_now() { return broken_down_time(golden().at("now")); }

using Rendered = boost::system::result<std::string, TemplateError>;

void expect_equal(const Rendered& rendered, const boost::json::value& expected, const std::string& what) {
  const auto& fields = expected.as_object();
  if (const auto* text = fields.if_contains("text")) {
    if (rendered.has_error()) {
      ADD_FAILURE() << what << ": " << rendered.error().message;
    } else {
      EXPECT_EQ(*rendered, std::string_view(text->as_string())) << what;
    }
    return;
  }
  if (!rendered.has_error()) {
    ADD_FAILURE() << what << " rendered \"" << *rendered << "\" instead of failing with "
                  << boost::json::serialize(expected);
    return;
  }
  const auto* raised = fields.if_contains("raised");
  EXPECT_EQ(rendered.error().raised, raised != nullptr) << what << ": " << rendered.error().message;
  EXPECT_GT(rendered.error().line, 0);
  if (raised) {
    EXPECT_EQ(rendered.error().message, std::string_view(raised->as_string())) << what;
  }
}

class Family : public testing::TestWithParam<const char*> {};

TEST_P(Family, RendersConversationsAsJinja2Does) {
  const auto chat = ChatTemplate::parse(golden_file(std::string("templates/") + GetParam() + ".jinja"));
  const auto& conversations = golden().at("conversations").as_array();
  ASSERT_GE(conversations.size(), 20u);
  size_t num_texts = 0;
  for (const auto& conversation : conversations) {
    ChatInput input;
    input.bos_token = "<BOS>";
    input.eos_token = "<EOS>";
    input.variables = conversation.at("variables").as_object();
    input.now = golden_now();
    const auto& expected = conversation.at("expected").at(GetParam());
    num_texts += expected.as_object().contains("text");
    expect_equal(chat.render(input), expected, std::string(conversation.at("name").as_string()));
  }
  EXPECT_GE(num_texts, 4u);
}

INSTANTIATE_TEST_SUITE_P(Published, Family,
                         testing::Values("alpaca", "chatml", "command-r", "deepseek-r1", "deepseek-v3", "exaone",
                                         "falcon3", "gemma", "gemma2", "gemma3", "glm4", "gpt-oss", "granite3",
                                         "hermes3", "internlm2", "jamba", "llama2", "llama3", "llama3.1", "llama3.2",
                                         "mistral", "mistral-v0.3", "mistral-v7-tekken", "nemotron", "olmo2",
                                         "openchat", "phi3", "phi4", "qwen2.5", "qwen3", "qwq", "smollm2", "smollm3",
                                         "vicuna", "zephyr"),
                         [](const auto& family) {
                           std::string name = family.param;
                           for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
                           return name;
                         });

TEST(ChatTemplate, TheModelsOwnTemplateIsTheOneTested) {
  const auto gguf = GgufFile::open(model_path(kSmollmFile));
  EXPECT_EQ(gguf->get_string("tokenizer.chat_template"), golden_file("templates/smollm2.jinja"));
}

TEST(ChatTemplate, TheLanguageIsJinja2s) {
  ChatInput input;
  input.variables = golden().at("data").as_object();
  input.now = golden_now();
  ASSERT_GT(golden().at("language").as_array().size(), 150u);
  for (const auto& entry : golden().at("language").as_array()) {
    const std::string source(entry.at("source").as_string());
    try {
      expect_equal(ChatTemplate::parse(source).render(input), entry.at("expected"), source);
    } catch (const Error& error) {
      ADD_FAILURE() << source << ": " << error.what();
    }
  }
}

TEST(ChatTemplate, BrokenSyntaxIsAnErrorWithItsLine) {
  for (const auto& source : golden().at("bad_syntax").as_array()) {
    EXPECT_THROW(ChatTemplate::parse(std::string(source.as_string())), Error) << source;
  }
  try {
    ChatTemplate::parse("one\ntwo\n{% if x %}\n{{ 1 + }}\n{% endif %}");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.part(), Part::text);
    EXPECT_THAT(error.what(), HasSubstr("chat template, line 4:"));
  }
}

TEST(ChatTemplate, ErrorsNameTheLine) {
  const auto rendered = ChatTemplate::parse("a\n{% if true %}\n{{ messages[0].content.x.y }}{% endif %}").render({});
  ASSERT_TRUE(rendered.has_error());
  EXPECT_EQ(rendered.error().line, 3);
  EXPECT_THROW(rendered.value(), Error);
}

std::string error_of(const std::string& source, const boost::json::value& messages = nullptr) {
  try {
    ChatInput input;
    input.messages = messages;
    const auto rendered = ChatTemplate::parse(source).render(input);
    return rendered.has_error() ? rendered.error().message : "no error";
  } catch (const Error& error) {
    return error.what();
  }
}

std::string repeat(const std::string& text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

TEST(ChatTemplate, HostileTemplatesEndWithAnError) {
  const std::string ten_loops = repeat("{% for i in range(100000) %}", 10) + "x" + repeat("{% endfor %}", 10);
  EXPECT_THAT(error_of(ten_loops), HasSubstr("steps"));
  EXPECT_THAT(error_of("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"),
              HasSubstr("steps"));
  EXPECT_THAT(error_of("{{ range(100000000) | list }}"), HasSubstr("range is longer"));
  EXPECT_THAT(error_of("{{ 'x' * 1000000000 }}"), HasSubstr("longer than"));
  EXPECT_THAT(error_of("{{ ([1] * 100000) * 100000 }}"), HasSubstr("longer than"));
  EXPECT_THAT(
      error_of("{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}"),
      HasSubstr("longer than"));
  EXPECT_THAT(
      error_of("{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}{% endfor %}"),
      HasSubstr("longer than"));
  EXPECT_THAT(error_of("{% set ns = namespace(s='xy') %}{% for i in range(64) %}{% set ns.s = ns.s|replace('x', ns.s) "
                       "%}{% endfor %}"),
              testing::AnyOf(HasSubstr("longer than"), HasSubstr("steps")));
  EXPECT_THAT(error_of("{% set s = 'x' * 1000000 %}{% for i in range(1000) %}{{ s }}{% endfor %}"),
              testing::AnyOf(HasSubstr("output is longer"), HasSubstr("steps")));
  EXPECT_THAT(error_of("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"), HasSubstr("nests deeper"));
  EXPECT_THAT(
      error_of("{% set ns = namespace(l=[]) %}{% for i in range(1000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}"),
      HasSubstr("nested deeper"));
  EXPECT_THAT(error_of("{{ " + repeat("(", 5000) + "1" + repeat(")", 5000) + " }}"), HasSubstr("nested deeper"));
  EXPECT_THAT(error_of("{{ " + repeat("[", 5000) + repeat("]", 5000) + " }}"), HasSubstr("nested deeper"));
  EXPECT_THAT(error_of("{{ " + repeat("-", 5000) + "1 }}"), HasSubstr("nested deeper"));
  EXPECT_THAT(error_of("{{ " + repeat("not ", 5000) + "1 }}"), HasSubstr("nested deeper"));
  EXPECT_THAT(error_of("{{ 1" + repeat(" + 1", 5000) + " }}"), HasSubstr("deeper than"));
  EXPECT_THAT(error_of("{{ a" + repeat(".b", 5000) + " }}"), HasSubstr("deeper than"));
  EXPECT_THAT(error_of("{{ a" + repeat("|lower", 5000) + " }}"), HasSubstr("deeper than"));
  EXPECT_THAT(error_of(repeat("{% if 1 %}", 5000) + repeat("{% endif %}", 5000)), HasSubstr("nested deeper"));
  EXPECT_THAT(error_of("{{ 9223372036854775807 + 1 }}"), HasSubstr("too large"));
  EXPECT_THAT(error_of("{{ 3 ** 100000000000 }}"), HasSubstr("too large"));
  EXPECT_THAT(error_of("{{ (0 - 9223372036854775807 - 1) // -1 }}"), HasSubstr("too large"));
  EXPECT_EQ(error_of("{{ [1, 2, 3][::9223372036854775807] }}{{ 'abc'[-9223372036854775807:] }}"), "no error");
  EXPECT_EQ(error_of("{% set ns = namespace() %}{% set ns.self = ns %}{% set ns.list = [ns] %}"), "no error");
  EXPECT_THAT(error_of(std::string(2 << 20, 'x')), HasSubstr("longer than"));
}

TEST(ChatTemplate, HostileInputEndsWithAnError) {
  boost::json::value deep = boost::json::array();
  for (int i = 0; i < 200; ++i) {
    boost::json::array outer;
    outer.push_back(std::move(deep));
    deep = std::move(outer);
  }
  EXPECT_THAT(error_of("x", deep), HasSubstr("nested deeper"));
  EXPECT_THAT(error_of("x", boost::json::value(UINT64_MAX)), HasSubstr("63 bits"));
  ChatInput broken;
  broken.messages = boost::json::value(std::string_view("\xff\xe6\x97"));
  EXPECT_EQ(*ChatTemplate::parse("{{ messages }}").render(broken), "\ufffd\ufffd");
}

TEST(ChatTemplate, AnyMutationOfATemplateParsesAndRendersOrFailsCleanly) {
  std::mt19937 random(3);
  const auto& conversation = golden().at("conversations").at(8).at("variables").as_object();
  size_t num_parsed = 0;
  for (const char* family : {"qwen2.5", "llama3.1", "gemma3", "mistral-v0.3"}) {
    const std::string source = golden_file(std::string("templates/") + family + ".jinja");
    for (int round = 0; round < 150; ++round) {
      std::string mutated = source;
      for (int i = 0, n = 1 + static_cast<int>(random() % 4); i < n; ++i) {
        const size_t at = random() % mutated.size();
        switch (random() % 4) {
          case 0:
            mutated.erase(at, 1 + random() % 8);
            break;
          case 1:
            mutated[at] = static_cast<char>(random());
            break;
          case 2:
            mutated.insert(at, mutated.substr(random() % mutated.size(), random() % 40));
            break;
          default:
            mutated.insert(at, 1, "{}%#'\"()[]|.-+~"[random() % 15]);
            break;
        }
      }
      try {
        ChatInput input;
        input.variables = conversation;
        const auto chat = ChatTemplate::parse(mutated);
        ++num_parsed;
        const auto rendered = chat.render(input);
        EXPECT_TRUE(rendered.has_value() || rendered.error().raised || !rendered.error().message.empty());
      } catch (const Error& error) {
        EXPECT_THAT(error.what(), HasSubstr("chat template, line "));
      }
    }
  }
  EXPECT_GT(num_parsed, 100u);
}

TEST(ChatTemplate, BuiltInsRenderTheirFormats) {
  ChatInput input;
  input.messages =
      boost::json::parse(R"([{"role": "system", "content": "Be brief."}, {"role": "user", "content": " Hi "},
    {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Bye"}])");
  input.bos_token = "<bos>";
  EXPECT_EQ(*ChatTemplate::built_in("chatml").render(input),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi "
            "<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
            "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(*ChatTemplate::built_in("gemma").render(input),
            "<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n"
            "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n");
  EXPECT_EQ(*ChatTemplate::built_in("llama3").render(input),
            "<bos><|start_header_id|>system<|end_header_id|>\n\nBe "
            "brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi"
            "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|><|start_header_id|>user<|end_"
            "header_id|>\n\n"
            "Bye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n");
}

TEST(ChatTemplate, BuiltInsAreTheTemplatesThatJinja2Rendered) {
  EXPECT_THAT(ChatTemplate::built_in_names(), testing::ElementsAre("alpaca", "chatml", "gemma", "llama2", "llama3",
                                                                   "mistral", "phi3", "vicuna", "zephyr"));
  for (const std::string_view name : ChatTemplate::built_in_names()) {
    EXPECT_EQ(ChatTemplate::built_in(name).source(), golden_file("templates/" + std::string(name) + ".jinja"));
  }
  try {
    ChatTemplate::built_in("llama9");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("llama9"), HasSubstr("alpaca, chatml"), HasSubstr("zephyr")));
  }
}

TEST(ChatTemplate, IsAFileOrABuiltInName) {
  const std::string folder = testing::TempDir() + "/echelon_chat_template";
  std::filesystem::create_directories(folder);
  const std::string file = folder + "/own.jinja";
  std::ofstream(file) << "own {{ messages }}";
  EXPECT_EQ(ChatTemplate::file_or_built_in(file).source(), "own {{ messages }}");
  EXPECT_EQ(ChatTemplate::file_or_built_in("vicuna").source(), ChatTemplate::built_in("vicuna").source());
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder);  // a file of that name wins
  std::ofstream("zephyr") << "a file";
  EXPECT_EQ(ChatTemplate::file_or_built_in("zephyr").source(), "a file");
  std::filesystem::current_path(before);
  std::filesystem::remove_all(folder);
  for (const std::string& neither : {std::string("lama2"), file, testing::TempDir()}) {
    try {
      ChatTemplate::file_or_built_in(neither);
      FAIL() << neither;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(neither));
    }
  }
}

}  // namespace
}  // namespace echelon::test
