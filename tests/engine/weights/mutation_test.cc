// Seeded mutations of a GGUF file, a safetensors folder and JSON: byte flips, truncations, huge counts, swapped fields,
// aimed at the headers. Each either loads (and then reads) or is an Error that says where; no allocation out of
// proportion to the file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <new>
#include <random>

#include "engine/weights/json_file.h"
#include "engine/weights/weight_file.h"
#include "tests/engine/weights/file_builder.h"
#include "tests/engine/weights/read_tensors.h"

namespace {
std::atomic<size_t> largest_allocation{0};

void* counted_allocation(size_t size) {
  size_t largest = largest_allocation.load(std::memory_order_relaxed);
  while (size > largest && !largest_allocation.compare_exchange_weak(largest, size)) {
  }
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
}  // namespace

// Of the whole test program: to see the largest single allocation.
void* operator new(size_t size) { return counted_allocation(size); }
void* operator new[](size_t size) { return counted_allocation(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }

namespace echelon {
namespace {

using testing::build_gguf;
using testing::build_safetensors;
using testing::BuiltFile;
using testing::bytes_of;
using testing::TemporaryFolder;

constexpr int kNumMutations = 400;
constexpr size_t kMaxAllocationBytes =
    1 << 18;  // the files are below 2 KB; Boost.JSON's parser keeps a stack of its own

/// Values that break arithmetic: limits, signs, neighbours of powers of two.
uint64_t hostile_number(std::mt19937_64& random) {
  static constexpr uint64_t kValues[] = {0,          1,          2,          31,         33,         255,
                                         65535,      65536,      1u << 20,   1u << 24,   0x7fffffff, 0x80000000,
                                         0xffffffff, 1ull << 32, 1ull << 40, 1ull << 48, 1ull << 59, 1ull << 60,
                                         1ull << 62, 1ull << 63, ~0ull,      ~0ull - 31, ~0ull / 2,  ~0ull / 34};
  return kValues[random() % std::size(kValues)];
}

void flip_bytes(std::string& bytes, size_t end, std::mt19937_64& random) {
  const size_t count = 1 + random() % 4;
  for (size_t i = 0; i < count; ++i) bytes[random() % end] ^= static_cast<char>(1 + random() % 255);
}

/// Header fields to hostile numbers, two fields swapped, bytes flipped, bytes cut off, put in or taken out.
std::string mutate(const BuiltFile& original, size_t header_bytes, std::mt19937_64& random) {
  BuiltFile file = original;
  const auto& field = file.fields[random() % file.fields.size()];
  const auto& other = file.fields[random() % file.fields.size()];
  switch (random() % 6) {
    case 0:
    case 1: {
      const uint64_t value = hostile_number(random);
      std::memcpy(file.bytes.data() + field.offset, &value, std::min<size_t>(field.size, sizeof(value)));
      break;
    }
    case 2: {
      const size_t size = std::min(field.size, other.size);
      for (size_t i = 0; i < size; ++i) std::swap(file.bytes[field.offset + i], file.bytes[other.offset + i]);
      break;
    }
    case 3:
      flip_bytes(file.bytes, header_bytes, random);
      break;
    case 4:
      file.bytes.resize(1 + random() % file.bytes.size());
      break;
    default:
      if (random() % 2 == 0) {
        file.bytes.insert(random() % header_bytes, std::string(1 + random() % 40, static_cast<char>(random())));
      } else {
        file.bytes.erase(random() % header_bytes, 1 + random() % 40);
      }
  }
  return file.bytes;
}

void read_metadata(const GgufFile& file) {
  for (const std::string_view key : file.keys()) {
    const auto ignore = [](auto&& call) {
      try {
        call();
      } catch (const Error&) {
      }
    };
    ignore([&] { file.get_int(key); });
    ignore([&] { file.get_uint(key); });
    ignore([&] { file.get_float(key); });
    ignore([&] { file.get_bool(key); });
    ignore([&] { file.get_string(key); });
    ignore([&] { file.get_ints(key); });
    ignore([&] { file.get_floats(key); });
    ignore([&] { file.get_bools(key); });
    ignore([&] { file.get_strings(key); });
  }
}

struct Outcome {
  int loaded = 0;
  int refused = 0;
};

/// Runs `load`, which must return or throw an Error whose message has the folder's path and one of the words.
void run_case(Outcome& outcome, const std::function<void()>& load, const std::string& where,
              const std::vector<std::string>& words, int seed) {
  largest_allocation = 0;
  std::string message;
  try {
    load();
    ++outcome.loaded;
  } catch (const Error& error) {
    message = error.what();
    ++outcome.refused;
  } catch (const std::exception& error) {
    FAIL() << "seed " << seed << ": " << error.what();
  }
  EXPECT_LE(largest_allocation.load(), kMaxAllocationBytes) << "seed " << seed << ": " << message;
  if (message.empty()) return;
  EXPECT_NE(message.find(where), std::string::npos) << "seed " << seed << ": " << message;
  const bool names_field = std::any_of(
      words.begin(), words.end(), [&](const std::string& word) { return message.find(word) != std::string::npos; });
  EXPECT_TRUE(names_field) << "seed " << seed << ": " << message;
}

TEST(Mutations, OfAGgufFile) {
  const TemporaryFolder folder;
  const BuiltFile original = build_gguf();
  const size_t header_bytes = original.field("scale 0").offset;
  const std::vector<std::string> words = {
      "tensor \"",          "tensors \"",        "metadata key", "tensor_count", "metadata_kv_count",
      "the name of tensor", "tensor 0",          "tensor 1",     "GGUF",         "the magic number",
      "the version",        "general.alignment", "split.",       "big-endian"};
  Outcome outcome;
  for (int seed = 0; seed < kNumMutations; ++seed) {
    std::mt19937_64 random(static_cast<uint64_t>(seed));
    const std::string path = folder.write("m.gguf", mutate(original, header_bytes, random));
    run_case(
        outcome,
        [&] {
          const auto file = GgufFile::open(path);
          read_metadata(*file);
          read_tensors(*open_gguf(file));
        },
        path, words, seed);
  }
  EXPECT_GE(outcome.refused, 200);
  EXPECT_GE(outcome.loaded, 10);
}

/// The pieces of a JSON text that a mutation may exchange: numbers, words and punctuation.
std::string mutate_json(std::string text, std::mt19937_64& random) {
  static const std::vector<std::string> kPieces = {"-1",
                                                   "18446744073709551615",
                                                   "9223372036854775807",
                                                   "1e308",
                                                   "null",
                                                   "{}",
                                                   "[]",
                                                   "\"\"",
                                                   "true",
                                                   "[[[[",
                                                   "\"dtype\"",
                                                   "\\u0000",
                                                   "4611686018427387904",
                                                   "\xff",
                                                   "}"};
  const size_t place = random() % text.size();
  switch (random() % 5) {
    case 0:
      text.resize(place);
      return text;
    case 1:
      return text.insert(place, kPieces[random() % kPieces.size()]);
    case 2:
      return text.erase(place, 1 + random() % 12);
    case 3: {  // a whole number for another
      const size_t begin = text.find_first_of("0123456789", place);
      if (begin == std::string::npos) return text.erase(place, 1);
      const size_t end = std::min(text.find_first_not_of("0123456789", begin), text.size());
      return text.replace(
          begin, end - begin,
          random() % 2 == 0 ? kPieces[random() % kPieces.size()] : std::to_string(hostile_number(random)));
    }
    default:
      text[place] = static_cast<char>(random());
      return text;
  }
}

TEST(Mutations, OfASafetensorsFolder) {
  const TemporaryFolder folder;
  const std::string header =
      R"({"__metadata__": {"format": "pt"}, "a.weight": {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]}, )"
      R"("b.weight": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [32, 44]}, "c": {"dtype": "F16", "shape": [2], "data_offsets": [44, 48]}})";
  const std::string second = R"({"d": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}})";
  const std::string index =
      R"({"metadata": {"total_size": 52}, "weight_map": {"a.weight": "one.safetensors", "b.weight": "one.safetensors", )"
      R"("c": "one.safetensors", "d": "two.safetensors"}})";
  const std::string data(48, 'x');
  const std::vector<std::string> words = {"tensor \"",    "header",    "weight_map",  "JSON",
                                          "data_offsets", "\"dtype\"", "cannot open", "occurs twice",
                                          "neither",      "is an",     "regular file"};
  Outcome outcome;
  for (int seed = 0; seed < kNumMutations; ++seed) {
    std::mt19937_64 random(static_cast<uint64_t>(seed));
    std::string one = build_safetensors(header, data);
    std::string list = index;
    switch (random() % 4) {
      case 0:
        list = mutate_json(index, random);
        break;
      case 1: {
        const uint64_t size = hostile_number(random);
        std::memcpy(one.data(), &size, sizeof(size));
        if (random() % 2 == 0) one.resize(1 + random() % one.size());
        break;
      }
      default:
        one = build_safetensors(mutate_json(header, random), data);
    }
    folder.write("one.safetensors", one);
    folder.write("two.safetensors", build_safetensors(second, std::string(4, 'y')));
    folder.write("model.safetensors.index.json", list);
    run_case(
        outcome, [&] { read_tensors(*open_hugging_face(folder.path())); }, folder.path(), words, seed);
  }
  EXPECT_GE(outcome.refused, 200);
  EXPECT_GE(outcome.loaded, 10);
}

TEST(Mutations, OfAConfig) {
  const TemporaryFolder folder;
  const std::string config =
      R"({"architectures": ["LlamaForCausalLM"], "hidden_size": 576, "rope_scaling": {"factor": 8.0}, "eos_token_id": [1, 2]})";
  Outcome outcome;
  for (int seed = 0; seed < kNumMutations; ++seed) {
    std::mt19937_64 random(static_cast<uint64_t>(seed));
    const std::string path = folder.write("config.json", mutate_json(config, random) + " ");
    run_case(
        outcome,
        [&] {
          const JsonObject object = read_json_file(path);
          object.find_strings("architectures");
          object.find_int("hidden_size");
          object.find_object("rope_scaling");
          object.find_ints("eos_token_id");
        },
        path, {"JSON", "\" is ", "document", "occurs twice"}, seed);
  }
  EXPECT_GE(outcome.refused, 100);
  EXPECT_GE(outcome.loaded, 10);
}

}  // namespace
}  // namespace echelon
