// render_templates < CASES > RESULTS   Renders the templates of a JSON file, for tests/golden/fuzz_templates.py.
// CASES: {"now": [..], "data": {variables}, "sources": ["..", ..]}. RESULTS: a list, one result per source
// (template_oracle.h) with "ms", what it took.
#include <chrono>
#include <iostream>
#include <iterator>

#include "tests/engine/text/template_oracle.h"

int main() {
  using namespace echelon;
  const std::string text{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  const boost::json::value cases = boost::json::parse(text);
  ChatInput input;
  input.now = test::broken_down_time(cases.at("now"));
  input.variables = cases.at("data").as_object();
  boost::json::array results;
  for (const auto& source : cases.at("sources").as_array()) {
    const auto begin = std::chrono::steady_clock::now();
    boost::json::object result = test::rendered(std::string(source.as_string()), input);
    const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - begin;
    result["ms"] = taken.count();
    results.push_back(std::move(result));
  }
  std::cout << boost::json::serialize(results) << "\n";
}
