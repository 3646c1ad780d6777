// Whose key a request brings. Keys are kept as SHA-256 alone (FIPS 180-4): a key is long and random, so that nothing
// slower is needed, and what is in memory or in a file of hashes opens no server.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace echelon {

using KeyHash = std::array<uint8_t, 32>;

KeyHash sha256(std::string_view text);

struct ApiKey {
  std::string id;  ///< the key's name in logs, and the tenant; never the key
  KeyHash hash{};
  bool is_admin = false;                                    ///< may change the server's state
  std::optional<int64_t> requests_per_min, tokens_per_min;  ///< nothing: as for every key; 0: any
};

/// The lines of a key file: "NAME:KEY" or "NAME:sha256:HEX", then "admin" and limits of its own, "requests=60
/// tokens=100000" a minute; "#" begins a comment. Names: letters, digits and - _ . @, at most 64. Throws
/// Error(Part::frontend) that names `file` and the line, and repeats no key.
std::vector<ApiKey> parse_key_file(std::string_view text, const std::string& file);

/// A regular file of at most 1 MiB that group and others may not read. Throws Error(Part::frontend).
std::vector<ApiKey> read_key_file(const std::string& file);

/// The key of "Authorization: Bearer KEY", else `x_api_key`. Empty when there is none.
std::string_view presented_key(std::string_view authorization, std::string_view x_api_key);

/// All keys of a server. Any thread.
class KeyRing {
 public:
  /// `keys` are an administrator's and get the names "key 1", "key 2", ..; `file` may be empty. Throws as
  /// read_key_file().
  KeyRing(const std::vector<std::string>& keys, std::string file);

  /// False: nobody needs one.
  bool asks() const { return asks_; }
  /// The key's owner. Looks at all keys in the same time, whichever it is.
  std::optional<ApiKey> find(std::string_view key) const;
  /// Reads the file again. When that throws, what was known before counts.
  void reload();

 private:
  using Keys = std::vector<ApiKey>;
  std::shared_ptr<const Keys> read() const;
  std::shared_ptr<const Keys> current() const;

  const std::vector<ApiKey> given_;
  const std::string file_;
  const bool asks_;
  mutable std::mutex mutex_;          ///< guards the pointer
  std::shared_ptr<const Keys> keys_;  ///< owners: this, and who is looking for a key
};

}  // namespace echelon
