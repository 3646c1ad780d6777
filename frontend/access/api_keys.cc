// Reading keys is strict: a line that is not understood ends the start (or leaves what was known before), because a
// key that is silently left out locks somebody out, and one that is silently misread may let somebody in.
#include "frontend/access/api_keys.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <set>
#include <utility>

#include "kernels/base/error.h"

namespace echelon {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;
constexpr size_t kMaxFileKeys = 4096;  ///< find() looks at all of them: 4096 take 20 us
constexpr size_t kMaxNameLength = 64;
constexpr int64_t kMaxPerMinute = 1'000'000'000'000;
constexpr std::string_view kBlanks = " \t\r";
constexpr std::string_view kMarks = "-_.@";  ///< in names, beside letters and digits
constexpr std::string_view kHashed = "sha256:";

[[noreturn]] void fail(const std::string& message) { throw Error(Part::frontend, message); }

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

bool is_name(std::string_view name) {
  const auto fits = [](unsigned char c) {
    return std::isalnum(c) != 0 || kMarks.find(static_cast<char>(c)) != kMarks.npos;
  };
  return !name.empty() && name.size() <= kMaxNameLength && std::all_of(name.begin(), name.end(), fits);
}

std::optional<int> hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return std::nullopt;
}

std::optional<KeyHash> parse_hash(std::string_view hex) {
  KeyHash hash{};
  if (hex.size() != 2 * hash.size()) return std::nullopt;
  for (size_t i = 0; i < hash.size(); ++i) {
    const auto high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);
    if (!high || !low) return std::nullopt;
    hash[i] = static_cast<uint8_t>(*high << 4 | *low);
  }
  return hash;
}

/// "admin", "requests=60" and "tokens=100000", each once at most, or nothing.
void parse_rights(std::string_view text, ApiKey& key, const std::string& where) {
  for (text = trimmed(text); !text.empty(); text = trimmed(text)) {
    const std::string_view word = text.substr(0, text.find_first_of(kBlanks));
    text.remove_prefix(word.size());
    if (word == "admin" && !std::exchange(key.is_admin, true)) continue;
    const size_t equals = std::min(word.find('='), word.size());
    const std::string_view name = word.substr(0, equals), digits = word.substr(std::min(equals + 1, word.size()));
    std::optional<int64_t>* target = nullptr;
    if (name == "requests") target = &key.requests_per_min;
    if (name == "tokens") target = &key.tokens_per_min;
    int64_t number = -1;
    const auto [last, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    const bool is_number = error == std::errc() && last == digits.data() + digits.size() && number >= 0;
    if (target == nullptr || target->has_value() || !is_number || number > kMaxPerMinute)
      fail(fmt::format(
          "{}: behind the key of {} there may be admin, requests=N and tokens=N, a minute, N of 0 (any) to {}", where,
          key.id, kMaxPerMinute));
    *target = number;
  }
}

/// `where` is FILE:LINE. The line's text is in no message: it may be a key.
ApiKey parse_line(std::string_view line, const std::string& where) {
  const size_t colon = line.find(':');
  const std::string_view name = line.substr(0, colon);
  if (colon == std::string_view::npos || !is_name(name))
    fail(
        fmt::format("{}: a line is NAME:KEY or NAME:sha256:HEX, with a name of letters, digits and - _ . @, at most "
                    "{} of them",
                    where, kMaxNameLength));
  const size_t end = std::min(line.find_first_of(kBlanks, colon), line.size());
  const std::string_view key = line.substr(colon + 1, end - colon - 1);
  if (key.empty()) fail(fmt::format("{}: the key of {} is empty", where, name));
  if (!std::all_of(key.begin(), key.end(), [](unsigned char c) { return c > ' ' && c < 127; }))
    fail(fmt::format("{}: the key of {} is not of printable ASCII alone", where, name));
  ApiKey known{.id = std::string(name)};
  parse_rights(line.substr(end), known, where);
  if (!key.starts_with(kHashed)) {
    known.hash = sha256(key);
    return known;
  }
  const auto hash = parse_hash(key.substr(kHashed.size()));
  if (!hash)
    fail(fmt::format("{}: the hash of {} is not 64 hexadecimal digits, as sha256sum prints them", where, name));
  known.hash = *hash;
  return known;
}

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number() const { return number_; }

 private:
  int number_;
};

std::vector<ApiKey> named(const std::vector<std::string>& keys) {
  std::vector<ApiKey> out;
  for (const std::string& key : keys)
    out.push_back({.id = fmt::format("key {}", out.size() + 1), .hash = sha256(key), .is_admin = true});
  return out;
}

}  // namespace

KeyHash sha256(std::string_view text) {
  KeyHash hash;
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), hash.data());
  return hash;
}

std::vector<ApiKey> parse_key_file(std::string_view text, const std::string& file) {
  std::vector<ApiKey> keys;
  std::set<std::string> names;
  std::set<KeyHash> hashes;
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.front() == '#') continue;
    const std::string where = fmt::format("{}:{}", file, number);
    ApiKey key = parse_line(line, where);
    if (!names.insert(key.id).second) fail(fmt::format("{}: {} stands twice", where, key.id));
    if (!hashes.insert(key.hash).second) fail(fmt::format("{}: the key of {} is another's, too", where, key.id));
    if (keys.size() == kMaxFileKeys) fail(fmt::format("{}: more than {} keys", where, kMaxFileKeys));
    keys.push_back(std::move(key));
  }
  if (keys.empty()) fail(fmt::format("{} holds no key: it needs lines NAME:KEY or NAME:sha256:HEX", file));
  return keys;
}

std::vector<ApiKey> read_key_file(const std::string& file) {
  // Without O_NONBLOCK a pipe of this name would hang the start.
  const Descriptor descriptor(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (descriptor.number() < 0 || ::fstat(descriptor.number(), &status) != 0)
    fail(fmt::format("cannot read the keys of --api-key-file {}: {}", file, std::strerror(errno)));
  if (!S_ISREG(status.st_mode)) fail(fmt::format("--api-key-file {} is not a regular file", file));
  if ((status.st_mode & 0077) != 0)
    fail(fmt::format("others than its owner may use --api-key-file {} (mode {:04o}): chmod 600 {}", file,
                     status.st_mode & 07777, file));
  std::string text(kMaxFileBytes + 1, '\0');
  size_t size = 0;
  for (ssize_t count = 1; count != 0 && size < text.size();) {
    count = ::read(descriptor.number(), text.data() + size, text.size() - size);
    if (count < 0) fail(fmt::format("cannot read --api-key-file {}: {}", file, std::strerror(errno)));
    size += static_cast<size_t>(count);
  }
  if (size > kMaxFileBytes) fail(fmt::format("--api-key-file {} is larger than {} bytes", file, kMaxFileBytes));
  std::vector<ApiKey> keys = parse_key_file(std::string_view(text).substr(0, size), file);
  OPENSSL_cleanse(text.data(), text.size());
  return keys;
}

std::string_view presented_key(std::string_view authorization, std::string_view x_api_key) {
  constexpr std::string_view kScheme = "bearer ";
  const auto same_letter = [](char small, char any) { return std::tolower(static_cast<unsigned char>(any)) == small; };
  const bool has_scheme = authorization.size() >= kScheme.size() &&
                          std::equal(kScheme.begin(), kScheme.end(), authorization.begin(), same_letter);
  return has_scheme ? authorization.substr(kScheme.size()) : x_api_key;
}

KeyRing::KeyRing(const std::vector<std::string>& keys, std::string file)
    : given_(named(keys)), file_(std::move(file)), asks_(!keys.empty() || !file_.empty()), keys_(read()) {}

std::shared_ptr<const KeyRing::Keys> KeyRing::read() const {
  auto keys = std::make_shared<Keys>(given_);
  if (!file_.empty()) {
    for (ApiKey& key : read_key_file(file_)) keys->push_back(std::move(key));
  }
  return keys;
}

std::shared_ptr<const KeyRing::Keys> KeyRing::current() const {
  const std::lock_guard lock(mutex_);
  return keys_;
}

std::optional<ApiKey> KeyRing::find(std::string_view key) const {
  const KeyHash hash = sha256(key);
  const auto keys = current();
  const ApiKey* owner = nullptr;
  for (const ApiKey& known : *keys) {
    const bool same = CRYPTO_memcmp(hash.data(), known.hash.data(), hash.size()) == 0;
    owner = same ? &known : owner;
  }
  if (owner == nullptr || key.empty()) return std::nullopt;
  return *owner;
}

void KeyRing::reload() {
  if (file_.empty()) return;
  auto keys = read();
  const std::lock_guard lock(mutex_);
  keys_ = std::move(keys);
}

}  // namespace echelon
