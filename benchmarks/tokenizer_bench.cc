// How fast are texts cut into tokens?  tokenizer_bench MODEL DOCUMENTS [--rounds N] [--ids FILE]
//
// DOCUMENTS as tests/golden/tokenizer_corpus.py writes them: bytes' number (32 bits), bytes, again and again. One
// thread encodes document after document, special tokens' text taken literally; a round is all of them. A line a round:
// MB/s by the thread's processor time and by the clock. --ids writes each document's number of ids and the ids, 32 bits
// each. tokenizer.py runs it beside Hugging Face's tokenizers. A ceiling, measured first: one pass of std::hash over
// the bytes in words of 6, which a tokenizer that looks every word up cannot do without.
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "benchmarks/machine_line.h"
#include "engine/model/open_model.h"
#include "engine/text/tokenizer.h"
#include "engine/text_model.h"

namespace echelon::bench {
namespace {

double seconds_of(clockid_t clock) {
  timespec time{};
  ::clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

struct Documents {
  std::string bytes;
  std::vector<std::string_view> texts;
};

Documents read_documents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  Documents documents;
  documents.bytes.assign(std::istreambuf_iterator<char>(file), {});
  const std::string_view all = documents.bytes;
  for (size_t at = 0; at < all.size();) {
    uint32_t size = 0;
    if (all.size() - at < sizeof size) throw std::runtime_error(path + " is cut off");
    std::memcpy(&size, all.data() + at, sizeof size);
    at += sizeof size;
    if (size > all.size() - at) throw std::runtime_error(path + " is cut off");
    documents.texts.push_back(all.substr(at, size));
    at += size;
  }
  if (documents.texts.empty()) throw std::runtime_error(path + " holds no documents");
  return documents;
}

void write_ids(std::ofstream& file, const std::vector<TokenId>& ids) {
  const auto count = static_cast<uint32_t>(ids.size());
  file.write(reinterpret_cast<const char*>(&count), sizeof count);
  file.write(reinterpret_cast<const char*>(ids.data()), static_cast<std::streamsize>(count * sizeof(TokenId)));
}

/// MB/s of hashing all bytes in words of 6.
double hash_rate(const Documents& documents, double megabytes) {
  constexpr size_t kWordBytes = 6;
  size_t sum = 0;
  const double begin = seconds_of(CLOCK_THREAD_CPUTIME_ID);
  for (const std::string_view text : documents.texts) {
    for (size_t at = 0; at < text.size(); at += kWordBytes)
      sum += std::hash<std::string_view>()(text.substr(at, kWordBytes));
  }
  asm volatile("" ::"r"(sum));
  return megabytes / (seconds_of(CLOCK_THREAD_CPUTIME_ID) - begin);
}

int run(const std::string& model, const std::string& path, int rounds, const std::string& ids_path) {
  const Documents documents = read_documents(path);
  const TextModel text = read_text_model(open_model(model));
  double megabytes = 0;
  for (const std::string_view document : documents.texts) megabytes += static_cast<double>(document.size()) * 1e-6;
  fmt::print("tokenizer_bench: {}\n{} documents, {:.1f} MB; hashing them in words of 6 bytes {:.0f} MB/s\n",
             machine_line(), documents.texts.size(), megabytes, hash_rate(documents, megabytes));
  if (!ids_path.empty()) {
    std::ofstream file(ids_path, std::ios::binary);
    for (const std::string_view document : documents.texts) write_ids(file, text.tokenizer->encode(document));
    if (!file.flush()) throw std::runtime_error("cannot write " + ids_path);
  }
  for (int round = 0; round < rounds; ++round) {
    size_t num_tokens = 0;
    const double cpu = seconds_of(CLOCK_THREAD_CPUTIME_ID), wall = seconds_of(CLOCK_MONOTONIC);
    for (const std::string_view document : documents.texts) num_tokens += text.tokenizer->encode(document).size();
    const double cpu_s = seconds_of(CLOCK_THREAD_CPUTIME_ID) - cpu, wall_s = seconds_of(CLOCK_MONOTONIC) - wall;
    fmt::print("round {}: {:.1f} MB/s of processor time, {:.1f} by the clock, {} tokens\n", round + 1,
               megabytes / cpu_s, megabytes / wall_s, num_tokens);
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace echelon::bench

int main(int argc, char** argv) {
  int rounds = 5;
  std::string ids;
  for (int i = 3; i + 1 < argc; i += 2) {
    if (std::string_view(argv[i]) == "--rounds") rounds = std::atoi(argv[i + 1]);
    if (std::string_view(argv[i]) == "--ids") ids = argv[i + 1];
  }
  if (argc < 3 || argc % 2 == 0) {
    fmt::print(stderr, "usage: tokenizer_bench MODEL DOCUMENTS [--rounds N] [--ids FILE]\n");
    return 2;
  }
  try {
    return echelon::bench::run(argv[1], argv[2], rounds, ids);
  } catch (const std::exception& error) {
    fmt::print(stderr, "tokenizer_bench: {}\n", error.what());
    return 1;
  }
}
