// Random texts of JSON schemas, for schema_samples.py to check with other software.
//   schema_samples SCHEMAS.json COUNT SEED
// SCHEMAS.json: an array of schemas. Prints one line of JSON for each text: [index of the schema, the text], and
// [index, null] for a text that did not end. Tokens are bytes and some pieces of JSON.
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>

#include "tests/engine/grammar/reference.h"

int main(int argc, char** argv) {
  using namespace echelon;
  if (argc != 4) return 2;
  std::ifstream file(argv[1]);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const boost::json::array schemas = boost::json::parse(text).as_array();
  const auto vocabulary = vocabulary_of(
      {"\"", "\",", "\": ", "{\"", "\"}", "}", "]", ", ", "true", "null", "abc", "é", "12", "\\n", " \"", "-0"});
  std::mt19937_64 random(static_cast<uint64_t>(std::atoll(argv[3])));
  for (size_t i = 0; i < schemas.size(); ++i) {
    try {
      const auto grammar = compile(GrammarKind::json_schema, boost::json::serialize(schemas[i]), vocabulary);
      for (int n = std::atoi(argv[2]); n > 0; --n) {
        const Sample one = sample(grammar, random, 400);
        boost::json::array line{i, nullptr};
        if (one.ended) line[1] = one.text;
        std::cout << boost::json::serialize(line) << "\n";
      }
    } catch (const GrammarError& error) {
      std::cerr << "schema " << i << ": " << error.what() << "\n";
      return 1;
    }
  }
  return 0;
}
