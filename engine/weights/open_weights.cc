// From files to a WeightFile: GGUF, alone or split in parts, and a Hugging Face folder, alone or in shards.
// What one file cannot know is checked here: that the parts belong together and name no tensor twice.
#include <fmt/format.h>

#include <boost/json/object.hpp>
#include <boost/json/string.hpp>
#include <filesystem>
#include <map>
#include <unordered_set>

#include "engine/weights/json_file.h"
#include "engine/weights/printable.h"
#include "engine/weights/safetensors.h"
#include "engine/weights/weight_file.h"
#include "kernels/base/error.h"

namespace echelon {
namespace {

constexpr size_t kMaxShards = 4096;
constexpr std::string_view kIndexName = "model.safetensors.index.json";

[[noreturn]] void fail(const std::string& path, const std::string& message) {
  throw Error(Part::weights, fmt::format("{}: {}", path, message));
}

/// Collects tensors of several files; a name that two of them hold is an error.
class Collector {
 public:
  void add(TensorInfo info, uint64_t offset, const std::shared_ptr<const MappedFile>& file) {
    if (!names_.insert(info.name).second) {
      fail(file->path(), fmt::format("tensor \"{}\" is in another part, too", printable(info.name)));
    }
    const auto data = file->bytes().subspan(offset, info.num_bytes);
    tensors_.push_back({.info = std::move(info), .file = file, .data = data});
  }

  bool has(const std::string& name) const { return names_.contains(name); }
  size_t size() const { return tensors_.size(); }
  std::vector<WeightFile::Tensor> take() { return std::move(tensors_); }

 private:
  std::unordered_set<std::string> names_;
  std::vector<WeightFile::Tensor> tensors_;
};

void add_gguf(Collector& collector, const GgufFile& file) {
  for (const GgufTensor& tensor : file.tensors()) {
    collector.add({.name = std::string(tensor.name),
                   .type = tensor.type,
                   .type_name = std::string(tensor_type_info(tensor.type).name),
                   .shape = tensor.shape,
                   .num_bytes = tensor.num_bytes},
                  tensor.offset, file.map());
  }
}

void add_safetensors(Collector& collector, const SafetensorsFile& file) {
  for (const SafetensorsTensor& tensor : file.tensors()) {
    collector.add({.name = tensor.name,
                   .type = tensor.type,
                   .type_name = tensor.type_name,
                   .shape = tensor.shape,
                   .num_bytes = tensor.num_bytes},
                  tensor.offset, file.map());
  }
}

/// Part `number` (from 0) of a GGUF file whose first part is `first`.
std::string part_path(const GgufFile& first, uint64_t number, uint64_t count) {
  const std::string ending = fmt::format("-{:05}-of-{:05}.gguf", 1, count);
  if (!first.path().ends_with(ending)) {
    fail(first.path(), fmt::format("split.count is {}, so the name must end in {}", count, ending));
  }
  return fmt::format("{}-{:05}-of-{:05}.gguf", first.path().substr(0, first.path().size() - ending.size()), number + 1,
                     count);
}

bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name.size() <= 255 && name.find('/') == std::string::npos && name != "." && name != ".." &&
         name.find('\0') == std::string::npos;
}

/// Shards and the tensors that the index promises in each.
std::map<std::string, std::vector<std::string>> read_index(const std::string& path) {
  const JsonObject weight_map = read_json_file(path).get_object("weight_map");
  std::map<std::string, std::vector<std::string>> shards;
  for (const auto& [key, value] : weight_map.raw()) {
    const std::string tensor(key.data(), key.size());
    const std::string shard = weight_map.get_string(tensor);
    if (!is_plain_file_name(shard)) {
      fail(path, fmt::format("weight_map: tensor \"{}\" is in \"{}\", which is not a file name", printable(tensor),
                             printable(shard)));
    }
    shards[shard].push_back(tensor);
    if (shards.size() > kMaxShards) fail(path, fmt::format("weight_map: more than {} shards", kMaxShards));
  }
  if (shards.empty()) fail(path, "weight_map is empty");
  return shards;
}

}  // namespace

std::shared_ptr<const WeightFile> open_gguf(std::shared_ptr<const GgufFile> first) {
  const uint64_t count = first->find_uint("split.count").value_or(1);
  const uint64_t number = first->find_uint("split.no").value_or(0);
  if (count > kMaxGgufParts)
    fail(first->path(), fmt::format("split.count is {}; at most {} are allowed", count, kMaxGgufParts));
  if (number != 0) {
    fail(first->path(), fmt::format("split.no is {}: this is not the first part; open that one", number));
  }
  Collector collector;
  add_gguf(collector, *first);
  for (uint64_t i = 1; i < count; ++i) {
    const auto part = GgufFile::open(part_path(*first, i, count));
    if (part->get_uint("split.no") != i)
      fail(part->path(), fmt::format("split.no is {}; {} is needed", part->get_uint("split.no"), i));
    if (part->get_uint("split.count") != count) {
      fail(part->path(),
           fmt::format("split.count is {}, that of the first part {}", part->get_uint("split.count"), count));
    }
    add_gguf(collector, *part);
  }
  const auto promised = first->find_uint("split.tensors.count");
  if (count > 1 && promised && *promised != collector.size()) {
    fail(first->path(), fmt::format("split.tensors.count is {}; the parts hold {}", *promised, collector.size()));
  }
  return std::make_shared<const WeightFile>(first->path(), collector.take());
}

std::shared_ptr<const WeightFile> open_gguf(const std::string& path) { return open_gguf(GgufFile::open(path)); }

std::shared_ptr<const WeightFile> open_hugging_face(const std::string& folder) {
  const std::filesystem::path base(folder);
  const std::string single = base / "model.safetensors";
  const std::string index = base / kIndexName;
  Collector collector;
  std::error_code ignored;
  if (std::filesystem::exists(single, ignored)) {
    add_safetensors(collector, *SafetensorsFile::open(single));
  } else if (std::filesystem::exists(index, ignored)) {
    for (const auto& [shard, names] : read_index(index)) {
      const auto file = SafetensorsFile::open(base / shard);
      add_safetensors(collector, *file);
      for (const std::string& name : names) {
        if (!collector.has(name))
          fail(file->map()->path(),
               fmt::format("tensor \"{}\", which the index puts here, is missing", printable(name)));
      }
    }
  } else {
    fail(folder, fmt::format("has neither model.safetensors nor {}; weights must be in safetensors files", kIndexName));
  }
  return std::make_shared<const WeightFile>(folder, collector.take());
}

}  // namespace echelon
