// What does structured output cost rank 0?  grammar_bench MODEL [ROUNDS]
//
// For schemas and grammars as clients send them, with a text that fits each: milliseconds to compile it, its states and
// memory, and over the tokens of the text microseconds for a mask and for taking the token (median, 99th percentile,
// most; of all rounds). The text is cut by the model's tokenizer, and a second time into single bytes, which is as a
// model may write it, too. A ceiling: reading and writing a mask once from memory.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>
#include <vector>

#include "engine/grammar/grammar.h"
#include "engine/model/open_model.h"
#include "engine/text/tokenizer.h"
#include "engine/text_model.h"
#include "kernels/base/error.h"

namespace echelon {
namespace {

using Clock = std::chrono::steady_clock;

double microseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

struct Example {
  const char* name;
  GrammarSource source;
  std::string text;
};

constexpr const char* kArguments =
    R"({"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer","minimum":1,"maximum":14},
        "unit":{"enum":["C","F"]}},"required":["city"]})";

// g++ 12 warns of what cannot be in a list of many strings.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
std::vector<Example> examples() {
  const auto schema = [](const char* text) { return GrammarSource{GrammarKind::json_schema, text}; };
  std::string flat = R"({"type":"object","additionalProperties":false,"properties":{)", values, names;
  for (int i = 0; i < 40; ++i) {
    flat += fmt::format(R"({}"field_{}":{{"type":"{}"}})", i > 0 ? "," : "", i, i % 2 ? "string" : "integer");
    names += fmt::format(R"({}"field_{}")", i > 0 ? "," : "", i);
    values += fmt::format(R"({}"field_{}": {})", i > 0 ? ", " : "", i, i % 2 ? "\"some words, and more\"" : "1234");
  }
  flat += R"(},"required":[)" + names + "]}";
  // Eight functions, as /v1/chat/completions describes them (frontend/parts/answer_parts.cc).
  std::string tags;
  for (int i = 0; i < 8; ++i)
    tags += fmt::format(
        R"({}{{"begin":"<tool_call>\n{{\"name\": \"tool_{}\", \"arguments\": ","end":"}}\n</tool_call>","strict":false,"name":"t","schema":{}}})",
        i > 0 ? "," : "", i, kArguments);
  const std::string tools =
      R"({"content":null,"control":["<tool_call>"],"calls":{"trigger":"<tool_call>","open":[""],"separator":"\n","close":"","only_one":false,"tags":[)" +
      tags + "]}}";
  return {
      {"person", schema(R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,
        "maximum":150},"email":{"type":"string","format":"email"},"tags":{"type":"array","items":{"type":"string"},
        "maxItems":5}},"required":["name","age","email"],"additionalProperties":false})"),
       R"({"name": "Ada Lovelace", "age": 36, "email": "ada.lovelace@example.org", "tags": ["mathematics", "poetry"]})"},
      {"event",
       schema(R"({"type":"object","properties":{"title":{"type":"string","maxLength":80},"start":{"type":"string",
        "format":"date-time"},"id":{"type":"string","format":"uuid"},"attendees":{"type":"array","items":{"type":"object",
        "properties":{"name":{"type":"string"},"role":{"enum":["host","guest","speaker"]}},"required":["name","role"]}}},
        "required":["title","start","id","attendees"]})"),
       "{\n  \"title\": \"A meeting about everything\",\n  \"start\": \"2026-11-27T10:00:00Z\",\n  \"id\": "
       "\"123e4567-e89b-12d3-a456-426614174000\",\n  \"attendees\": [\n    {\n      \"name\": \"Grace\",\n      "
       "\"role\": "
       "\"speaker\"\n    }\n  ]\n}"},
      {"tree",
       schema(R"({"$ref":"#/$defs/node","$defs":{"node":{"type":"object","properties":{"value":{"type":"number"},
        "children":{"type":"array","items":{"$ref":"#/$defs/node"}}},"required":["value","children"]}}})"),
       R"({"value": 1, "children": [{"value": 2.5, "children": [{"value": -3e4, "children": []}]}, {"value": 4, "children": []}]})"},
      {"steps", schema(R"({"type":"object","properties":{"steps":{"type":"array","items":{"type":"object","properties":
        {"explanation":{"type":"string"},"output":{"type":"string"}},"required":["explanation","output"],
        "additionalProperties":false}},"final_answer":{"type":"string"}},"required":["steps","final_answer"],
        "additionalProperties":false})"),
       R"({"steps": [{"explanation": "We add three to both sides, \"carefully\".", "output": "8x = 32"}, {"explanation": )"
       R"("Then we divide by eight.", "output": "x = 4"}], "final_answer": "The solution is x = 4."})"},
      {"flat, 40 members", schema(flat.c_str()), "{" + values + "}"},
      {"pattern, lengths",
       schema(R"({"type":"object","properties":{"code":{"type":"string","pattern":"^[A-Z]{3}-\\d{4}$"},
        "note":{"type":"string","minLength":10,"maxLength":500}},"required":["code","note"]})"),
       R"({"code": "ABC-1234", "note": "A note that is long enough, in plain English and with a few words more."})"},
      {"any object",
       {GrammarKind::json_object, ""},
       R"({"a": [1, 2, {"b": "text that goes on for a while"}], "c": null})"},
      {"choice", {GrammarKind::choice, R"(["positive","negative","neutral"])"}, "negative"},
      {"regex", {GrammarKind::regex, R"((\w+ ){3,8}\w+[.!?])"}, "These are some words in one line."},
      {"text or calls",
       {GrammarKind::answer, tools},
       "I look that up for you, one moment please.\n<tool_call>\n{\"name\": \"tool_5\", \"arguments\": {\"city\": "
       "\"some place\", "
       "\"days\": 3, \"unit\": \"C\"}}\n</tool_call>"},
      {"gbnf",
       {GrammarKind::gbnf, R"gbnf(root ::= (expr "=" term "\n")+
expr ::= term ([-+*/] term)*
term ::= [a-z] [a-z0-9_]* | [0-9]+ | "(" expr ")")gbnf"},
       "alpha+(beta*2)/gamma=delta\nx-1=y\n"},
  };
}

double at(std::vector<double>& sorted, double share) {
  return sorted[std::min(sorted.size() - 1, static_cast<size_t>(share * static_cast<double>(sorted.size())))];
}

struct Times {
  std::vector<double> masks, steps;
};

void follow(const std::shared_ptr<const Grammar>& grammar, std::span<const TokenId> tokens, Times& times) {
  Matcher matcher(grammar);
  TokenMask mask(grammar->vocabulary().width());
  for (const TokenId token : tokens) {
    auto start = Clock::now();
    matcher.fill(mask);
    times.masks.push_back(microseconds_since(start));
    if (!mask.allows(token)) throw Error(Part::engine, "the example does not fit its grammar");
    start = Clock::now();
    matcher.advance(token);
    times.steps.push_back(microseconds_since(start));
  }
}

void print(std::string_view name, std::string_view cut, Times& times) {
  for (auto* each : {&times.masks, &times.steps}) std::sort(each->begin(), each->end());
  fmt::print("  {:18} {:7} {:6} tokens   mask {:7.1f} {:7.1f} {:7.1f}   step {:6.2f} {:6.2f}\n", name, cut,
             times.masks.size(), at(times.masks, 0.5), at(times.masks, 0.99), times.masks.back(), at(times.steps, 0.5),
             at(times.steps, 0.99));
}

int run(const std::string& model, int rounds) {
  const OpenModel open = open_model(model);
  const TextModel text = read_text_model(open);
  const auto start = Clock::now();
  const auto vocabulary = make_grammar_vocabulary(*text.tokenizer, text.end_tokens, open.files.spec.vocab);
  fmt::print("{} tokens in {} nodes, made in {:.0f} ms\n", vocabulary->width(), vocabulary->all().num_nodes(),
             microseconds_since(start) / 1000);
  Times all;
  for (const Example& example : examples()) {
    std::vector<double> compile;
    std::shared_ptr<const Grammar> grammar;
    for (int round = 0; round < 5; ++round) {
      const auto begin = Clock::now();
      grammar = compile_grammar(example.source, vocabulary);
      compile.push_back(microseconds_since(begin) / 1000);
    }
    std::sort(compile.begin(), compile.end());
    fmt::print("{}: compiled in {:.1f} ms, {} states, {:.2f} MiB\n", example.name, compile[2],
               grammar->automaton().num_states(), static_cast<double>(grammar->size_bytes()) / (1 << 20));
    Times words, bytes;
    const std::vector<TokenId> tokens = text.tokenizer->encode(example.text);
    std::vector<TokenId> singles;
    for (const char c : example.text) {
      for (const TokenId token : text.tokenizer->encode(std::string(1, c))) {
        if (text.tokenizer->token_bytes(token) == std::string_view(&c, 1)) singles.push_back(token);
      }
    }
    for (int round = 0; round < rounds; ++round) follow(grammar, tokens, words);
    if (singles.size() == example.text.size()) {
      for (int round = 0; round < rounds; ++round) follow(grammar, singles, bytes);
    }
    all.masks.insert(all.masks.end(), words.masks.begin(), words.masks.end());
    all.steps.insert(all.steps.end(), words.steps.begin(), words.steps.end());
    print("", "words", words);
    if (!bytes.masks.empty()) print("", "bytes", bytes);
  }
  print("all texts", "words", all);
  return 0;
}

}  // namespace
}  // namespace echelon

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: grammar_bench MODEL [ROUNDS]\n");
    return 2;
  }
  try {
    return echelon::run(argv[1], argc > 2 ? std::max(1, std::atoi(argv[2])) : 5);
  } catch (const std::exception& error) {
    fmt::print(stderr, "grammar_bench: {}\n", error.what());
    return 1;
  }
}
