// A small JSON file (config.json, generation_config.json, model.safetensors.index.json) with typed getters whose errors
// name file and field. Boost.JSON parses; size and depth are bounded before and while it does.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace echelon {

inline constexpr uint64_t kMaxJsonBytes = 16 << 20;
inline constexpr int kMaxJsonDepth = 32;

/// One object of a document, and where it is ("model/config.json: rope_scaling"). Shares the ownership of the document.
/// A member that is null counts as absent. find_*: nullopt when absent, Error when of another type; get_*: Error when
/// absent.
class JsonObject {
 public:
  const std::string& where() const { return where_; }
  const boost::json::object& raw() const { return *object_; }

  bool has(std::string_view key) const { return find_value(key) != nullptr; }
  const boost::json::value* find_value(std::string_view key) const;  ///< null when absent or null

  std::optional<int64_t> find_int(std::string_view key) const;   ///< also a float without a fraction: 1e6
  std::optional<double> find_float(std::string_view key) const;  ///< also an integer
  std::optional<bool> find_bool(std::string_view key) const;
  std::optional<std::string> find_string(std::string_view key) const;
  std::optional<JsonObject> find_object(std::string_view key) const;
  std::optional<std::vector<int64_t>> find_ints(std::string_view key) const;  ///< one integer counts as a list of one
  std::optional<std::vector<double>> find_floats(std::string_view key) const;
  std::optional<std::vector<std::string>> find_strings(std::string_view key) const;

  int64_t get_int(std::string_view key) const;
  double get_float(std::string_view key) const;
  bool get_bool(std::string_view key) const;
  std::string get_string(std::string_view key) const;
  JsonObject get_object(std::string_view key) const;
  std::vector<std::string> get_strings(std::string_view key) const;

  JsonObject(std::string where, std::shared_ptr<const boost::json::value> document, const boost::json::object& object)
      : where_(std::move(where)), document_(std::move(document)), object_(&object) {}

 private:
  template <typename T>
  T required(std::string_view key, std::optional<T> value, std::string_view expected) const;
  [[noreturn]] void wrong_type(std::string_view key, const boost::json::value& value, std::string_view expected) const;

  std::string where_;
  std::shared_ptr<const boost::json::value> document_;
  const boost::json::object* object_;
};

/// Parses `text`, which must be one JSON object, at most kMaxJsonDepth deep, no key twice in one object. `where` is for
/// messages. Throws Error(Part::weights).
JsonObject parse_json_object(std::string_view text, const std::string& where);

/// Reads and parses a file of at most kMaxJsonBytes. Throws Error(Part::weights).
JsonObject read_json_file(const std::string& path);

}  // namespace echelon
