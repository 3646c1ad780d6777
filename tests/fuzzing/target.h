// What is fuzzed: a reader of bytes that somebody else wrote. A target is one file NAME_fuzz.cc that makes one Target
// of its name; libfuzzer_main.cc and replay_main.cc run it.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace echelon::fuzzing {

struct Target {
  /// Registers itself, so it has to be a variable with static storage.
  Target(std::string_view its_name, void (*its_run)(std::string_view input), std::vector<std::string> (*its_seeds)(),
         std::vector<std::string_view> its_words = {});

  std::string_view name;
  /// Returns for any input: what is wrong with it has become an Error or a value, which the target takes. Whatever else
  /// it throws is a finding, and so is what a sanitizer says.
  void (*run)(std::string_view input);
  std::vector<std::string> (*seeds)();  ///< inputs to begin with: some that are right
  std::vector<std::string_view> words;  ///< what inputs are made of
};

/// Those of this program, by name.
std::vector<const Target*> targets();

/// Ends the process as a sanitizer would: what must hold does not.
[[noreturn]] void finding(std::string_view what);
inline void expect(bool holds, std::string_view what) {
  if (!holds) finding(what);
}

/// Takes an input apart from its front; behind its end come zeros and empty texts.
class Pieces {
 public:
  explicit Pieces(std::string_view input) : rest_(input) {}
  unsigned byte() {
    if (rest_.empty()) return 0;
    const auto value = static_cast<unsigned char>(rest_.front());
    rest_.remove_prefix(1);
    return value;
  }
  bool empty() const { return rest_.empty(); }
  std::string_view take(size_t num_bytes) {
    const std::string_view piece = rest_.substr(0, num_bytes);
    rest_.remove_prefix(piece.size());
    return piece;
  }
  /// Up to the next `mark`, which is left out.
  std::string_view until(std::string_view mark) {
    const std::string_view piece = rest_.substr(0, rest_.find(mark));
    rest_.remove_prefix(std::min(piece.size() + mark.size(), rest_.size()));
    return piece;
  }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

/// All bytes of a literal, zeros too.
template <size_t N>
std::string bytes_of_literal(const char (&text)[N]) {
  return {text, N - 1};
}

inline std::span<const std::byte> as_bytes(std::string_view text) { return std::as_bytes(std::span(text)); }
inline std::string as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// A file in memory, for readers that want a path.
class MemoryFile {
 public:
  MemoryFile();
  ~MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  void write(std::string_view bytes) const;
  const std::string& path() const { return path_; }

 private:
  int file_;
  std::string path_;
};

/// A folder in memory (/dev/shm), which goes with the process.
class MemoryFolder {
 public:
  MemoryFolder();
  ~MemoryFolder();
  MemoryFolder(const MemoryFolder&) = delete;
  MemoryFolder& operator=(const MemoryFolder&) = delete;
  void write(const std::string& name, std::string_view bytes) const;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace echelon::fuzzing
