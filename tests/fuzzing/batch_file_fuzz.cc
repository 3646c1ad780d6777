// Files of a batch: their lines, and what is said against them.
#include "frontend/batch/batch_line.h"
#include "tests/fuzzing/target.h"

namespace echelon::fuzzing {
namespace {

void run(std::string_view input) {
  static const MemoryFile memory;
  memory.write(input);
  for (const ModelEndpoint* endpoint :
       {static_cast<const ModelEndpoint*>(nullptr), batch_endpoint("/v1/chat/completions")}) {
    LineReader reader(memory.path());
    BatchCheck check(endpoint);
    while (const auto line = reader.next()) {
      const auto parsed = parse_batch_line(line->text, endpoint);
      if (parsed.has_value()) {
        expect(parsed->endpoint != nullptr && (endpoint == nullptr || parsed->endpoint == endpoint),
               "a line of no endpoint");
        answered_line(parsed->custom_id, "id", 200, {{"a", 1}});
        unanswered_line(parsed->custom_id, "code", "message");
      }
      if (!check.add(*line)) break;
    }
    check.end();
    expect(reader.offset() <= static_cast<int64_t>(input.size()), "more is read than there is");
    expect(check.faults().size() <= kMaxBatchFaults, "too many faults are told");
  }
}

std::vector<std::string> seeds() {
  return {R"({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": []}})"
          "\n\n"
          R"({"custom_id": "b", "method": "POST", "url": "/v1/completions", "body": {"prompt": "x", "n": 1e3}})"
          "\n",
          R"({"custom_id": "a", "method": "GET", "url": "/v1/embeddings", "body": []})"
          "\r\n{",
          ""};
}

const Target target("batch_file", run, seeds,
                    {"\"custom_id\"", "\"method\"", "\"POST\"", "\"url\"", "\"/v1/chat/completions\"",
                     "\"/v1/completions\"", "\"/v1/responses\"", "\"body\"", "\n", "\r\n", "null", "1e308",
                     "\"\\u0000\"", "\"\\ud800\"", "{}", "[]"});

}  // namespace
}  // namespace echelon::fuzzing
