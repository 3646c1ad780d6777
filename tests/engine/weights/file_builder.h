// Small weight files for tests, written by hand: every field has a name and a known place, so that a test can break it.
// Header-only; the folder is removed with its TemporaryFolder.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/error.h"

namespace echelon::testing {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "echelon-weights-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = pattern;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  std::string path() const { return path_.string(); }

  /// Writes NAME (folders in it are made) and returns its path.
  std::string write(const std::string& name, std::string_view bytes) const {
    const auto path = path_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    file.close();
    if (!file) throw std::runtime_error("cannot write " + path.string());
    return path.string();
  }

 private:
  std::filesystem::path path_;
};

/// The message of the Error that `call` throws; fails the test when it throws none.
template <typename F>
std::string error_of(F&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no Error was thrown";
  return "";
}

/// Bytes with named fields.
struct BuiltFile {
  struct Field {
    std::string name;
    size_t offset;
    size_t size;
  };
  std::string bytes;
  std::vector<Field> fields;

  template <typename T>
  void put(const std::string& name, T value) {
    fields.push_back({name, bytes.size(), sizeof(T)});
    bytes.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  void put_text(const std::string& name, std::string_view text) {
    put<uint64_t>(name + " length", text.size());
    fields.push_back({name, bytes.size(), text.size()});
    bytes += text;
  }
  const Field& field(const std::string& name) const {
    for (const Field& candidate : fields) {
      if (candidate.name == name) return candidate;
    }
    throw std::runtime_error("no field " + name);
  }
  template <typename T>
  void set(const std::string& name, T value) {
    if (field(name).size != sizeof(T)) throw std::runtime_error("field " + name + " has another size");
    std::memcpy(bytes.data() + field(name).offset, &value, sizeof(T));
  }
  void set_text(const std::string& name, std::string_view text) {
    if (field(name).size != text.size()) throw std::runtime_error("field " + name + " has another size");
    bytes.replace(field(name).offset, text.size(), text);
  }
};

/// Fields in which a GGUF file of build_gguf may be made to differ before it is written.
struct GgufPlan {
  uint16_t split_no = 0;
  uint16_t split_count = 1;
  int32_t split_tensors = 2;
  std::string matrix_name = "w";
  std::string vector_name = "n";
};

/// Metadata of several types (string, uint32, strings, floats, nested array, split.*), a Q8_0 matrix [2, 64] whose
/// codes are 1, 2, 3, ... with scale 1, and a float32 vector of 32: 0, 1, 2, ...
inline BuiltFile build_gguf(const GgufPlan& plan = {}) {
  constexpr uint32_t kU16 = 2, kU32 = 4, kI32 = 5, kF32 = 6, kString = 8, kArray = 9;
  BuiltFile file;
  file.put<uint32_t>("magic", 0x46554747);
  file.put<uint32_t>("version", 3);
  file.put<uint64_t>("tensor_count", 2);
  file.put<uint64_t>("metadata_kv_count", 9);
  const auto key = [&file](const std::string& name, uint32_t type) {
    file.put_text("key " + name, name);
    file.put<uint32_t>("type " + name, type);
  };
  key("general.architecture", kString);
  file.put_text("value general.architecture", "test");
  key("general.alignment", kU32);
  file.put<uint32_t>("value general.alignment", 32);
  key("size", kI32);
  file.put<int32_t>("value size", -7);
  key("words", kArray);
  file.put<uint32_t>("element type words", kString);
  file.put<uint64_t>("count words", 3);
  for (int i = 0; i < 3; ++i) file.put_text(fmt::format("words {}", i), std::string(static_cast<size_t>(i), 'x'));
  key("numbers", kArray);
  file.put<uint32_t>("element type numbers", kF32);
  file.put<uint64_t>("count numbers", 2);
  file.put<float>("numbers 0", 1.5f);
  file.put<float>("numbers 1", -2.0f);
  key("nested", kArray);
  file.put<uint32_t>("element type nested", kArray);
  file.put<uint64_t>("count nested", 1);
  file.put<uint32_t>("inner element type nested", kU32);
  file.put<uint64_t>("inner count nested", 2);
  file.put<uint64_t>("inner nested", 0);
  key("split.no", kU16);
  file.put<uint16_t>("value split.no", plan.split_no);
  key("split.count", kU16);
  file.put<uint16_t>("value split.count", plan.split_count);
  key("split.tensors.count", kI32);
  file.put<int32_t>("value split.tensors.count", plan.split_tensors);
  file.put_text("tensor matrix", plan.matrix_name);
  file.put<uint32_t>("dimensions matrix", 2);
  file.put<uint64_t>("cols matrix", 64);
  file.put<uint64_t>("rows matrix", 2);
  file.put<uint32_t>("tensor type matrix", 8);
  file.put<uint64_t>("offset matrix", 0);
  file.put_text("tensor vector", plan.vector_name);
  file.put<uint32_t>("dimensions vector", 1);
  file.put<uint64_t>("size vector", 32);
  file.put<uint32_t>("tensor type vector", 0);
  file.put<uint64_t>("offset vector", 160);
  const auto pad = [&file] { file.bytes.resize((file.bytes.size() + 31) / 32 * 32); };
  pad();
  for (int block = 0; block < 4; ++block) {
    file.put<uint16_t>(fmt::format("scale {}", block), 0x3c00);
    for (int i = 0; i < 32; ++i) file.bytes += static_cast<char>(block * 32 + i + 1);
  }
  pad();
  for (int i = 0; i < 32; ++i) file.put<float>(fmt::format("vector {}", i), static_cast<float>(i));
  return file;
}

/// A safetensors file: header size, header, data.
inline std::string build_safetensors(std::string_view header, std::string_view data) {
  const uint64_t size = header.size();
  std::string bytes(reinterpret_cast<const char*>(&size), sizeof(size));
  bytes += header;
  bytes += data;
  return bytes;
}

template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

inline std::string read_all(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// The folder of the test models.
inline std::string model_file(const std::string& name) {
  const char* folder = std::getenv("ECHELON_MODELS");
  const char* home = std::getenv("HOME");
  const std::string base =
      folder != nullptr ? folder : std::string(home == nullptr ? "" : home) + "/.cache/echelon/models";
  return base + "/" + name;
}

}  // namespace echelon::testing
