#include "tests/fuzzing/target.h"

#include <fmt/format.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <stdexcept>

namespace echelon::fuzzing {
namespace {

std::vector<const Target*>& registered() {
  static std::vector<const Target*> all;
  return all;
}

}  // namespace

Target::Target(std::string_view its_name, void (*its_run)(std::string_view), std::vector<std::string> (*its_seeds)(),
               std::vector<std::string_view> its_words)
    : name(its_name), run(its_run), seeds(its_seeds), words(std::move(its_words)) {
  registered().push_back(this);
}

std::vector<const Target*> targets() {
  auto all = registered();
  std::sort(all.begin(), all.end(), [](const Target* a, const Target* b) { return a->name < b->name; });
  return all;
}

void finding(std::string_view what) {
  std::fprintf(stderr, "finding: %.*s\n", static_cast<int>(what.size()), what.data());
  std::abort();
}

MemoryFile::MemoryFile() : file_(::memfd_create("fuzz", MFD_CLOEXEC)), path_(fmt::format("/proc/self/fd/{}", file_)) {
  if (file_ < 0) throw std::runtime_error("no memfd");
}

MemoryFile::~MemoryFile() { ::close(file_); }

void MemoryFile::write(std::string_view bytes) const {
  const bool written = ::ftruncate(file_, static_cast<off_t>(bytes.size())) == 0 &&
                       ::pwrite(file_, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size());
  if (!written) throw std::runtime_error("cannot write into a memfd");
}

MemoryFolder::MemoryFolder() : path_("/dev/shm/echelon-fuzz-XXXXXX") {
  if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error("no folder in /dev/shm");
}

MemoryFolder::~MemoryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void MemoryFolder::write(const std::string& name, std::string_view bytes) const {
  std::ofstream file(path_ + "/" + name, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) throw std::runtime_error("cannot write " + path_ + "/" + name);
}

}  // namespace echelon::fuzzing
