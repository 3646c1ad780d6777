// Reads the file whole, after a look at its size, and hands texts on; option_table.cc knows what they mean.
#include "launch/option_file.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "kernels/base/error.h"
#include "launch/option_values.h"

namespace echelon {
namespace {

constexpr std::uintmax_t kMaxFileBytes = 1 << 20;
constexpr size_t kMaxListItems = 4096;

[[noreturn]] void fail(const std::string& message) { throw Error(Part::launch, message); }

std::string place(const std::string& path, const YAML::Mark& mark) {
  return mark.line >= 0 ? fmt::format("{}:{}", path, mark.line + 1) : path;
}

std::string read_whole(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) fail(fmt::format("--config: {} is no file", path));
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (error) fail(fmt::format("--config: {}: {}", path, error.message()));
  if (size > kMaxFileBytes) fail(fmt::format("--config: {} has {} bytes, more than {}", path, size, kMaxFileBytes));
  std::string text(static_cast<size_t>(size), '\0');
  std::ifstream in(path, std::ios::binary);
  if (!in.read(text.data(), static_cast<std::streamsize>(size))) fail(fmt::format("--config: {} cannot be read", path));
  return text;
}

std::vector<std::string> texts_of(const YAML::Node& value, const std::string& where) {
  if (value.IsScalar()) return {value.Scalar()};
  if (!value.IsSequence()) fail(fmt::format("{} needs a value or a list of values", where));
  if (value.size() > kMaxListItems) fail(fmt::format("{} has more than {} items", where, kMaxListItems));
  std::vector<std::string> texts;
  for (const YAML::Node& item : value) {
    if (!item.IsScalar()) fail(fmt::format("{} needs plain values in its list", where));
    texts.push_back(item.Scalar());
  }
  if (texts.empty()) fail(fmt::format("{} is an empty list; leave the key out for the default", where));
  return texts;
}

}  // namespace

std::vector<FileEntry> read_option_file(const std::string& path, const std::vector<std::string>& names) {
  YAML::Node root;
  try {
    root = YAML::Load(read_whole(path));
  } catch (const YAML::Exception& error) {
    fail(fmt::format("{}: not YAML: {}", place(path, error.mark), error.msg));
  }
  if (root.IsNull()) return {};
  if (!root.IsMap()) fail(fmt::format("{}: needs lines such as 'port: 8000'", path));
  std::vector<FileEntry> entries;
  for (const auto& pair : root) {
    const std::string at = place(path, pair.first.Mark());
    if (!pair.first.IsScalar()) fail(fmt::format("{}: a key must be the name of an option", at));
    std::string name = pair.first.Scalar();
    std::replace(name.begin(), name.end(), '_', '-');
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      const std::string near = nearest_name(name, names);
      fail(fmt::format("{}: unknown key '{}'{}", at, name,
                       near.empty() ? "" : fmt::format(", did you mean '{}'?", near)));
    }
    const auto same_name = [&](const FileEntry& entry) { return entry.name == name; };
    if (std::any_of(entries.begin(), entries.end(), same_name)) fail(fmt::format("{}: '{}' stands twice", at, name));
    const std::string where = fmt::format("{}: {}", at, name);
    entries.push_back({.name = name, .values = texts_of(pair.second, where), .where = where});
  }
  return entries;
}

}  // namespace echelon
