// From a client's bytes to a tree, by Boost.JSON's parser, which takes neither NaN nor broken UTF-8. What it leaves to
// its handler is done here: names that stand twice in an object, and bounds on memory.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/memory_resource.hpp>
#include <boost/json/value_stack.hpp>
#include <cstddef>
#include <new>
#include <optional>

#include "frontend/openai/json_reader.h"
#include "frontend/refusals.h"
#include "kernels/base/check.h"

namespace echelon {
namespace {

namespace json = boost::json;

constexpr size_t kMaxMembers = 1 << 16;  ///< of one object

/// Gives memory until a limit: a small body of brackets parses into a tree many times its size.
class BoundedMemory final : public json::memory_resource {
 public:
  explicit BoundedMemory(size_t limit_bytes) : left_bytes_(limit_bytes) {}

 private:
  void* do_allocate(size_t bytes, size_t alignment) override {
    if (bytes > left_bytes_) throw std::bad_alloc();
    left_bytes_ -= bytes;
    ECHELON_CHECK(alignment <= alignof(std::max_align_t));  // so that plain new and delete do
    return ::operator new(bytes);
  }
  void do_deallocate(void* memory, size_t bytes, size_t /*alignment*/) override {  // Boost 1.81 gives keys another one
    left_bytes_ += bytes;
    ::operator delete(memory);
  }
  bool do_is_equal(const json::memory_resource& other) const noexcept override { return this == &other; }

  size_t left_bytes_;
};

/// The names of the objects that are open, one behind another.
class OpenNames {
 public:
  void add_part(json::string_view part) { text_ += std::string_view(part.data(), part.size()); }
  void end_name() {
    names_.emplace_back(begin_, text_.size() - begin_);
    begin_ = text_.size();
  }
  /// The innermost object, which has `count` names, ends. One that it has twice.
  std::optional<std::string> end_object(size_t count) {
    if (count == 0) return std::nullopt;
    std::vector<std::string_view> names;
    const size_t first = names_.size() - count;
    for (size_t i = first; i < names_.size(); ++i)
      names.push_back(std::string_view(text_).substr(names_[i].first, names_[i].second));
    std::sort(names.begin(), names.end());
    const auto found = std::adjacent_find(names.begin(), names.end());
    std::optional<std::string> twice;
    if (found != names.end()) twice = *found;
    begin_ = names_[first].first;
    names_.resize(first);
    text_.resize(begin_);
    return twice;
  }

 private:
  std::string text_;
  std::vector<std::pair<size_t, size_t>> names_;  ///< where in text_, and how long
  size_t begin_ = 0;                              ///< of the name that comes
};

/// What json::basic_parser asks for; its names are Boost's.
class TreeBuilder {
 public:
  static constexpr size_t max_object_size = kMaxMembers;
  static constexpr size_t max_array_size = json::array::max_size();
  static constexpr size_t max_key_size = json::string::max_size();
  static constexpr size_t max_string_size = json::string::max_size();

  explicit TreeBuilder(json::storage_ptr memory) { stack_.reset(std::move(memory)); }
  json::value release() { return stack_.release(); }
  const std::optional<std::string>& name_twice() const { return name_twice_; }

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }
  bool on_object_begin(json::error_code&) { return true; }
  bool on_object_end(size_t count, json::error_code&) {
    auto twice = names_.end_object(count);
    if (!name_twice_) name_twice_ = std::move(twice);
    return done([&] { stack_.push_object(count); });
  }
  bool on_array_begin(json::error_code&) { return true; }
  bool on_array_end(size_t count, json::error_code&) {
    return done([&] { stack_.push_array(count); });
  }
  bool on_key_part(json::string_view part, size_t, json::error_code&) {
    names_.add_part(part);
    return done([&] { stack_.push_chars(part); });
  }
  bool on_key(json::string_view part, size_t, json::error_code&) {
    names_.add_part(part);
    names_.end_name();
    return done([&] { stack_.push_key(part); });
  }
  bool on_string_part(json::string_view part, size_t, json::error_code&) {
    return done([&] { stack_.push_chars(part); });
  }
  bool on_string(json::string_view part, size_t, json::error_code&) {
    return done([&] { stack_.push_string(part); });
  }
  bool on_number_part(json::string_view, json::error_code&) { return true; }
  bool on_int64(int64_t number, json::string_view, json::error_code&) {
    return done([&] { stack_.push_int64(number); });
  }
  bool on_uint64(uint64_t number, json::string_view, json::error_code&) {
    return done([&] { stack_.push_uint64(number); });
  }
  bool on_double(double number, json::string_view, json::error_code&) {
    return done([&] { stack_.push_double(number); });
  }
  bool on_bool(bool value, json::error_code&) {
    return done([&] { stack_.push_bool(value); });
  }
  bool on_null(json::error_code&) {
    return done([&] { stack_.push_null(); });
  }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

 private:
  template <typename Push>
  static bool done(Push push) {
    push();
    return true;
  }

  json::value_stack stack_;
  OpenNames names_;
  std::optional<std::string> name_twice_;
};

RequestError invalid(std::string message) { return bad_request("", std::move(message), "invalid_json"); }

}  // namespace

RequestResult<json::object> parse_json_object(std::string_view body, bool takes_last) {
  json::parse_options options;
  options.max_depth = kMaxBodyDepth;
  json::error_code error;
  try {
    json::basic_parser<TreeBuilder> parser(options, json::make_shared_resource<BoundedMemory>(kMaxJsonMemoryBytes));
    const size_t read = parser.write_some(false, body.data(), body.size(), error);
    const auto& name = parser.handler().name_twice();
    if (name && !takes_last) return invalid(fmt::format("the body has \"{}\" twice in one object", shortened(*name)));
    if (error) return invalid(fmt::format("the body is not valid JSON: {} near byte {}", error.message(), read));
    const size_t rest = body.find_first_not_of(" \t\r\n", read);
    if (rest != std::string_view::npos)
      return invalid(fmt::format("the body has more than one JSON value: extra data at byte {}", rest));
    json::value value = parser.handler().release();
    if (!value.is_object()) return invalid(fmt::format("the body must be a JSON object, not {}", kind_name(value)));
    return std::move(value.get_object());
  } catch (const std::bad_alloc&) {
    return bad_request("", fmt::format("the body's JSON takes more than {} MiB", kMaxJsonMemoryBytes >> 20),
                       "json_too_large");
  }
}

}  // namespace echelon
