// Reading a client's JSON: bounded in depth and memory, every member checked for its type and range, every member that
// nobody reads refused by name. The first error is kept and the rest of the reading has no effect. The same calls, of a
// reader that describes, write down what they would take: /openapi.json is made of that.
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
#include "engine/sampling_params.h"
#include "frontend/openai/object_schema.h"
#include "kernels/base/token.h"

namespace echelon {

inline constexpr size_t kMaxBodyDepth = 64;
inline constexpr size_t kMaxJsonMemoryBytes = size_t{256} << 20;  ///< of one parsed body: "[[],[],..." grows tenfold

/// The body of a request as a JSON object. 400 for anything else, with the place where it went wrong; also where an
/// object has a name twice, of which parsers take one or the other; unless `takes_last`.
RequestResult<boost::json::object> parse_json_object(std::string_view body, bool takes_last = false);

/// What a value is, for messages: "a string", "an array".
std::string_view kind_name(const boost::json::value& value);

/// The number that a float was written as: 0.7, not 0.699999988.
double shortest(float number);

/// Reads the members of one object. null equals absent: such a member leaves `out` as it is.
class JsonReader {
 public:
  /// `object` must outlive the reader. `path` precedes the names in errors: "messages[0]".
  explicit JsonReader(const boost::json::object& object, std::string path = "");
  /// Describes: there is no member and no error, and `schema`, which must outlive it, gets what the calls would take.
  explicit JsonReader(ObjectSchema& schema);
  bool describes() const { return schema_ != nullptr; }
  ObjectSchema& schema() { return *schema_; }

  /// The member, or nullptr when absent or null. Marks the name as known. `shape`: what it may be, as JSON Schema.
  const boost::json::value* find(std::string_view name, std::string_view shape = "{}");
  /// Of a member whose shape has to be made: make() -> object.
  template <typename Make>
  const boost::json::value* find_shaped(std::string_view name, Make make) {
    if (describes()) schema_->add(name, make());
    return find(name);
  }

  void read(std::string_view name, bool& out);
  void read(std::string_view name, float& out, const SamplingRange& range);
  void read(std::string_view name, std::string& out);
  /// Integers, also when written as 5.0.
  void read(std::string_view name, int& out, int64_t min, int64_t max);
  void read(std::string_view name, std::optional<int64_t>& out, int64_t min, int64_t max);
  /// Token ids of [0, vocab_size), at most `max_size` of them.
  void read(std::string_view name, std::vector<TokenId>& out, int64_t vocab_size, size_t max_size);
  /// A string out of `words`; the error lists them.
  void read_word(std::string_view name, std::string& out, std::span<const std::string_view> words);

  /// A null value when it is not there (and the error is set).
  const boost::json::value& require(std::string_view name, std::string_view shape = "{}");

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
  ObjectSchema* const schema_ = nullptr;
  std::string path_;
  std::vector<std::string_view> known_;
  std::optional<RequestError> error_;
};

/// The schema of what `read` looks for in the reader it gets.
template <typename Read>
boost::json::object described(Read read, std::span<const std::string_view> ignored = {}) {
  ObjectSchema schema;
  JsonReader reader(schema);
  read(reader);
  reader.refuse_others(ignored);
  return std::move(schema).take();
}

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
  const boost::json::value* value = outer.find_shaped(name, [&] { return described(read); });
  if (value != nullptr) read_element(outer, name, *value, read);
}

/// How many elements an array may have, and what they are called in errors: "messages".
struct ArrayBounds {
  size_t least = 0, most = 0;
  std::string_view what;
};

/// Whether `value` is an array of so many; else the error is set.
bool is_array_of(JsonReader& reader, std::string_view name, const boost::json::value& value, const ArrayBounds& bounds);

/// `read` gets a reader of every element of the array `name`, when it is there: objects.
template <typename Read>
void read_elements(JsonReader& outer, std::string_view name, const ArrayBounds& bounds, Read read,
                   std::span<const std::string_view> ignored = {}) {
  const boost::json::value* value =
      outer.find_shaped(name, [&] { return array_shape(described(read, ignored), bounds.most, bounds.least); });
  if (value == nullptr || outer.failed() || !is_array_of(outer, name, *value, bounds)) return;
  const boost::json::array& array = value->get_array();
  for (size_t i = 0; i < array.size() && !outer.failed(); ++i)
    read_element(outer, std::string(name) + "[" + std::to_string(i) + "]", array[i], read, ignored);
}

/// One of several ways to fill an object: describes them all by read(reader, way); nothing when `reader` reads.
template <typename Ways, typename Read>
void describe_each(JsonReader& reader, const Ways& ways, Read read) {
  if (!reader.describes()) return;
  for (const auto& way : ways) {
    ObjectSchema one;
    JsonReader nested(one);
    read(nested, way);
    reader.schema().add_case(std::move(one));
  }
}

/// Objects of several kinds: the member `tag` says which, and read(reader, kind) reads the members of that one.
/// `usual`: the kind without a tag; "": there has to be one.
template <typename Read>
void read_case(JsonReader& reader, std::string_view tag, std::span<const std::string_view> kinds,
               std::string_view usual, Read read) {
  describe_each(reader, kinds, [&](JsonReader& nested, std::string_view kind) {
    nested.schema().add(tag, words_shape(std::span(&kind, 1)));
    if (kind != usual) nested.require(tag);
    read(nested, kind);
  });
  if (reader.describes()) return;
  std::string kind(usual);
  if (usual.empty()) reader.require(tag);
  reader.read_word(tag, kind, kinds);
  if (!reader.failed()) read(reader, std::string_view(kind));
}

/// A request of a body; `read(reader, model, request)` reads all of its members.
template <typename Request, typename Model>
RequestResult<Request> parsed(const boost::json::object& body, const Model& model,
                              void (*read)(JsonReader& reader, const Model& model, Request& request)) {
  Request request;
  JsonReader reader(body);
  read(reader, model, request);
  if (reader.error()) return *reader.error();
  return request;
}

/// An integer of any JSON spelling, when it is one: 5, 5.0, but not 5.5, true or "5".
std::optional<int64_t> as_integer(const boost::json::value& value);

/// 1 to `most` letters, digits, _, ., :, - and what is in `more`.
bool is_identifier(std::string_view text, size_t most, std::string_view more = "");

/// Ids of [0, vocab_size) out of an array; the error names `name` and the index.
RequestResult<std::vector<TokenId>> read_token_ids(const boost::json::array& array, std::string_view name,
                                                   int64_t vocab_size);

}  // namespace echelon
