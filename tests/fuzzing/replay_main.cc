// Every target without libFuzzer: what was found before, the seeds, and seeded mutations of both. Any compiler builds
// it.
//   fuzz_replay [--runs N] [--seed S] [--regressions FOLDER] [TARGET..]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "tests/fuzzing/target.h"

namespace {

using echelon::fuzzing::Target;

struct Options {
  int runs = 2000;
  uint64_t seed = 1;
  std::string regressions;
  std::vector<std::string> names;  ///< empty: all
};

Options parse(int count, char** words) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string_view word = words[i];
    const auto value = [&]() -> const char* {
      if (i + 1 >= count) echelon::fuzzing::finding(std::string(word) + " needs a value");
      return words[++i];
    };
    if (word == "--runs") {
      options.runs = std::atoi(value());
    } else if (word == "--seed") {
      options.seed = std::strtoull(value(), nullptr, 10);
    } else if (word == "--regressions") {
      options.regressions = value();
    } else {
      options.names.emplace_back(word);
    }
  }
  return options;
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// What runs just now, for whoever looks at the end of a process that died of it.
std::string current;
void write_current() {
  std::ofstream file("fuzz-finding", std::ios::binary);
  file << current;
  std::fprintf(stderr, "fuzz_replay: the input is in ./fuzz-finding (%zu bytes)\n", current.size());
}

/// In memory of just that size, so that a sanitizer sees a byte that is read behind the end.
void run(const Target& target, const std::string& input) {
  current = input;
  const std::vector<char> exact(input.begin(), input.end());
  target.run({exact.data(), exact.size()});
}

/// One to four changes: bytes, words of the target, pieces moved, cut or taken from another input.
std::string mutate(std::string text, const Target& target, const std::vector<std::string>& others,
                   std::mt19937_64& random) {
  constexpr size_t kMostBytes = 4096;
  for (size_t left = 1 + random() % 4; left > 0; --left) {
    const size_t at = random() % (text.size() + 1), length = random() % 16;
    const std::string& other = others[random() % others.size()];
    switch (random() % 7) {
      case 0:
        if (at < text.size()) text[at] = static_cast<char>(random());
        break;
      case 1:
        if (at < text.size()) text[at] ^= static_cast<char>(1u << random() % 8);
        break;
      case 2:
        text.erase(at, length);
        break;
      case 3:
        text.insert(at,
                    target.words.empty() ? std::string(length, '\xff') : target.words[random() % target.words.size()]);
        break;
      case 4:
        text.insert(at, text.substr(random() % (text.size() + 1), length));
        break;
      case 5:
        text.insert(at, other.substr(random() % (other.size() + 1), 4 * length));
        break;
      default:
        if (random() % 4 == 0) text.resize(at);
    }
  }
  text.resize(std::min(text.size(), kMostBytes));
  return text;
}

void replay(const Target& target, const Options& options) {
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::string> inputs = target.seeds();
  const std::filesystem::path found = std::filesystem::path(options.regressions) / target.name;
  std::vector<std::filesystem::path> files;
  if (!options.regressions.empty() && std::filesystem::exists(found)) {
    for (const auto& file : std::filesystem::directory_iterator(found)) files.push_back(file.path());
    std::sort(files.begin(), files.end());
    for (const auto& file : files) inputs.push_back(read_file(file));
  }
  for (const std::string& input : inputs) run(target, input);
  std::mt19937_64 random(options.seed);
  for (int i = 0; i < options.runs; ++i) run(target, mutate(inputs[random() % inputs.size()], target, inputs, random));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  fmt::print("{:16} {} seeds, {} regressions, {} mutations: {:.1f} s\n", target.name, inputs.size() - files.size(),
             files.size(), options.runs, seconds.count());
  std::fflush(stdout);
}

}  // namespace

extern "C" void __sanitizer_set_death_callback(void (*)()) __attribute__((weak));

int main(int count, char** words) {
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(write_current);
  std::signal(SIGABRT, [](int) {
    write_current();
    std::_Exit(1);
  });
  const Options options = parse(count, words);
  for (const Target* target : echelon::fuzzing::targets()) {
    const bool is_asked = options.names.empty() ||
                          std::find(options.names.begin(), options.names.end(), target->name) != options.names.end();
    if (!is_asked) continue;
    try {
      replay(*target, options);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "finding: %s: %s\n", std::string(target->name).c_str(), error.what());
      write_current();
      return 1;
    }
  }
  return 0;
}
