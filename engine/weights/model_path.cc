// Resolution of MODEL: file, folder, then name in a cache folder of Hugging Face's layout
// (CACHE/models--org--name/refs/main holds the name of a folder under snapshots/).
#include "engine/weights/model_path.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <vector>

#include "engine/weights/printable.h"
#include "kernels/base/error.h"

namespace echelon {
namespace fs = std::filesystem;
namespace {

constexpr size_t kMaxFolderEntries = 65536;
constexpr std::string_view kGgufEnding = ".gguf";

bool begins_with_gguf_magic(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  char magic[4] = {};
  return file.read(magic, sizeof(magic)) && std::string_view(magic, sizeof(magic)) == "GGUF";
}

/// Whether a file is the second or a later part of a split model (NAME-00002-of-00003.gguf).
bool is_later_part(const std::string& name) {
  constexpr std::string_view kPattern = "-00000-of-00000.gguf";
  if (name.size() < kPattern.size()) return false;
  const std::string_view ending = std::string_view(name).substr(name.size() - kPattern.size());
  for (size_t i = 0; i < kPattern.size(); ++i) {
    const bool matches = kPattern[i] == '0' ? (ending[i] >= '0' && ending[i] <= '9') : ending[i] == kPattern[i];
    if (!matches) return false;
  }
  return ending.substr(1, 5) != "00001";
}

/// A folder with config.json, or with exactly one GGUF model; else what is wrong with it goes to `tried`.
std::optional<ModelPath> look_into_folder(const fs::path& folder, std::vector<std::string>& tried) {
  std::error_code error;
  if (fs::is_regular_file(folder / "config.json", error)) return ModelPath{ModelKind::hugging_face, folder.string()};
  std::vector<std::string> models;
  size_t num_entries = 0;
  for (fs::directory_iterator it(folder, error), end; !error && it != end && num_entries < kMaxFolderEntries;
       it.increment(error), ++num_entries) {
    const std::string name = it->path().filename().string();
    if (name.ends_with(kGgufEnding) && !is_later_part(name)) models.push_back(name);
  }
  std::sort(models.begin(), models.end());
  if (models.size() == 1) return ModelPath{ModelKind::gguf, (folder / models.front()).string()};
  if (models.empty()) {
    tried.push_back(fmt::format("folder {}: neither config.json nor a GGUF file inside", folder.string()));
  } else {
    tried.push_back(fmt::format("folder {}: {} GGUF models inside ({} and others); name one", folder.string(),
                                models.size(), printable(models.front())));
  }
  return std::nullopt;
}

/// "name" or "organisation/name" in the characters that Hugging Face allows; nullopt for anything else, ".." among it.
std::optional<std::string> cache_folder_name(const std::string& model) {
  if (model.empty() || model.size() > 256 || std::count(model.begin(), model.end(), '/') > 1) return std::nullopt;
  std::string out = "models--";
  bool part_is_empty = true;
  for (const char c : model) {
    const bool allowed = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
                         c == '-' || (c == '.' && !part_is_empty);
    if (c == '/' && !part_is_empty) {
      out += "--";
      part_is_empty = true;
    } else if (allowed) {
      out += c;
      part_is_empty = false;
    } else {
      return std::nullopt;
    }
  }
  if (part_is_empty) return std::nullopt;
  return out;
}

std::vector<fs::path> cache_folders() {
  std::vector<fs::path> out;
  const auto add = [&out](const char* variable, const char* below) {
    const char* value = std::getenv(variable);
    if (value == nullptr || *value == '\0') return;
    fs::path folder = fs::path(value) / below;
    if (std::find(out.begin(), out.end(), folder) == out.end()) out.push_back(std::move(folder));
  };
  add("HF_HUB_CACHE", "");
  add("HF_HOME", "hub");
  add("XDG_CACHE_HOME", "huggingface/hub");
  add("HOME", ".cache/huggingface/hub");
  return out;
}

/// The name of the snapshot that refs/main holds; nullopt when there is none or it is not a plain name.
std::optional<std::string> main_snapshot(const fs::path& repository) {
  std::ifstream file(repository / "refs" / "main", std::ios::binary);
  char buffer[128] = {};
  file.read(buffer, sizeof(buffer));
  std::string name(buffer, static_cast<size_t>(file.gcount()));
  while (!name.empty() && (name.back() == '\n' || name.back() == '\r' || name.back() == ' ')) name.pop_back();
  const auto is_plain = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  if (name.empty() || name.size() == sizeof(buffer) || !std::all_of(name.begin(), name.end(), is_plain))
    return std::nullopt;
  return name;
}

std::optional<ModelPath> look_into_cache(const fs::path& cache, const std::string& folder_name,
                                         std::vector<std::string>& tried) {
  const fs::path repository = cache / folder_name;
  std::error_code error;
  if (!fs::is_directory(repository, error)) {
    tried.push_back(fmt::format("{}: no such folder", repository.string()));
    return std::nullopt;
  }
  const auto snapshot = main_snapshot(repository);
  if (!snapshot) {
    tried.push_back(fmt::format("{}: names no snapshot", (repository / "refs" / "main").string()));
    return std::nullopt;
  }
  const fs::path folder = repository / "snapshots" / *snapshot;
  if (!fs::is_directory(folder, error)) {
    tried.push_back(fmt::format("{}: no such folder", folder.string()));
    return std::nullopt;
  }
  return look_into_folder(folder, tried);
}

}  // namespace

ModelPath resolve_model_path(const std::string& model) {
  if (model.empty()) throw Error(Part::weights, "MODEL is empty; a GGUF file, a folder or a name is needed");
  std::vector<std::string> tried;
  std::error_code error;
  const fs::path path(model);
  if (fs::is_directory(path, error)) {
    if (auto found = look_into_folder(path, tried)) return *found;
  } else if (fs::exists(path, error)) {
    if (begins_with_gguf_magic(path)) return {ModelKind::gguf, model};
    tried.push_back(fmt::format("file {}: does not begin with \"GGUF\", or cannot be read", model));
  } else {
    tried.push_back(fmt::format("{}: no such file or folder", model));
    const auto folder_name = cache_folder_name(model);
    if (!folder_name) {
      tried.push_back("not a name of the form organisation/name, so no cache folder was searched");
    } else {
      const auto caches = cache_folders();
      if (caches.empty())
        tried.push_back("no cache folder: HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME and HOME are not set");
      for (const fs::path& cache : caches) {
        if (auto found = look_into_cache(cache, *folder_name, tried)) return *found;
      }
    }
  }
  throw Error(Part::weights, fmt::format("no model \"{}\": {}", printable(model), fmt::join(tried, "; ")));
}

}  // namespace echelon
