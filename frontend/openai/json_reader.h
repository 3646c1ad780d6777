// Reading a client's JSON: bounded in depth and memory, every member checked for its type and range, every member that
// nobody reads refused by name. The first error is kept and the rest of the reading has no effect.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/request_error.h"
#include "kernels/base/token.h"

namespace echelon {

inline constexpr size_t kMaxBodyDepth = 64;
inline constexpr size_t kMaxJsonMemoryBytes = size_t{256} << 20;  ///< of one parsed body: "[[],[],..." grows tenfold

/// The body of a request as a JSON object. 400 for anything else, with the place where it went wrong.
RequestResult<boost::json::object> parse_json_object(std::string_view body);

/// What a value is, for messages: "a string", "an array".
std::string_view kind_name(const boost::json::value& value);

/// Reads the members of one object. null equals absent: such a member leaves `out` as it is.
class JsonReader {
 public:
  /// `object` must outlive the reader. `path` precedes the names in errors: "messages[0]".
  explicit JsonReader(const boost::json::object& object, std::string path = "");

  /// The member, or nullptr when absent or null. Marks the name as known.
  const boost::json::value* find(std::string_view name);

  void read(std::string_view name, bool& out);
  void read(std::string_view name, float& out);
  void read(std::string_view name, std::string& out);
  /// Integers, also when written as 5.0.
  void read(std::string_view name, int& out, int64_t min, int64_t max);
  void read(std::string_view name, std::optional<int64_t>& out, int64_t min, int64_t max);
  /// Token ids of [0, vocab_size), at most `max_size` of them.
  void read(std::string_view name, std::vector<TokenId>& out, int64_t vocab_size, size_t max_size);

  const boost::json::value& require(
      std::string_view name);  ///< a null value when it is not there (and the error is set)

  void fail(std::string_view name, std::string message, std::string_view code = "");
  void fail(RequestError error);
  bool failed() const { return error_.has_value(); }
  const std::optional<RequestError>& error() const { return error_; }

  /// Refuses every member that was not looked for and is not in `ignored`.
  void refuse_others(std::span<const std::string_view> ignored);

  /// "messages[0].role"
  std::string full_name(std::string_view name) const;

 private:
  const boost::json::object& object_;
  std::string path_;
  std::vector<std::string_view> known_;
  std::optional<RequestError> error_;
};

/// `read` gets a reader of `value`, which is the member or element `name` of `outer` and has to be an object; what it
/// does not look for is refused, but for `ignored`.
template <typename Read>
void read_element(JsonReader& outer, std::string_view name, const boost::json::value& value, Read read,
                  std::span<const std::string_view> ignored = {}) {
  const std::string path = outer.full_name(name);
  if (!value.is_object()) return outer.fail(name, path + " must be an object, not " + std::string(kind_name(value)));
  JsonReader reader(value.get_object(), path);
  read(reader);
  reader.refuse_others(ignored);
  if (reader.error()) outer.fail(*reader.error());
}

/// The same of the member `name`, when it is there.
template <typename Read>
void read_object(JsonReader& outer, std::string_view name, Read read) {
  if (const boost::json::value* value = outer.find(name)) read_element(outer, name, *value, read);
}

/// An integer of any JSON spelling, when it is one: 5, 5.0, but not 5.5, true or "5".
std::optional<int64_t> as_integer(const boost::json::value& value);

/// Ids of [0, vocab_size) out of an array; the error names `name` and the index.
RequestResult<std::vector<TokenId>> read_token_ids(const boost::json::array& array, std::string_view name,
                                                   int64_t vocab_size);

}  // namespace echelon
