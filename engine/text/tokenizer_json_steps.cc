// The steps of a tokenizer.json around its model: normalizer, pre-tokenizer and decoder, each one or a sequence.
// The names and fields are those that Hugging Face tokenizers writes.
#include <fmt/format.h>

#include "engine/text/tokenizer_json.h"

namespace echelon {

namespace {

using boost::json::object;
using boost::json::value;

/// A step, or the steps of a sequence, in order. Sequences inside sequences are not written by anyone.
std::vector<const object*> list_steps(const object& root, std::string_view name, std::string_view list_name) {
  const value* step = root.if_contains(name);
  if (step == nullptr || step->is_null()) return {};
  if (!step->is_object()) fail_json(name, "is not an object");
  if (json_string(step->get_object(), "type", name) != "Sequence") return {&step->get_object()};
  const value& list = json_field(step->get_object(), list_name, name);
  if (!list.is_array() || list.get_array().size() > kMaxSteps) {
    fail_json(name, fmt::format("is a sequence without a list of at most {} steps", kMaxSteps));
  }
  std::vector<const object*> steps;
  for (const value& inner : list.get_array()) {
    if (!inner.is_object()) fail_json(name, "holds a step that is not an object");
    steps.push_back(&inner.get_object());
  }
  return steps;
}

[[noreturn]] void unsupported(std::string_view where, std::string_view type) {
  fail_json(where, fmt::format("has a step '{}', which is not supported", type));
}

/// {"String": "..."}; a regex is not expected here.
std::string read_literal(const object& step, std::string_view where) {
  const value& pattern = json_field(step, "pattern", where);
  if (!pattern.is_object()) fail_json(where, "has a pattern that is not an object");
  const std::string text = json_string(pattern.get_object(), "String", where);
  if (text.empty()) fail_json(where, "has an empty pattern");
  return text;
}

void read_normalizers(TokenizerParts& parts, const object& root) {
  for (const object* step : list_steps(root, "normalizer", "normalizers")) {
    const std::string type = json_string(*step, "type", "normalizer");
    if (type == "NFC" && parts.normalizer.is_identity()) {
      parts.normalizer.nfc = true;
    } else if (type == "Prepend" && json_string(*step, "prepend", "normalizer") == kMetaspace) {
      // Written as a space, which the replacement that always follows makes a metaspace.
      parts.normalizer.leading_space = LeadingSpace::every_fragment;
    } else if (type == "Replace") {
      parts.normalizer.replacements.emplace_back(read_literal(*step, "normalizer"),
                                                 json_string(*step, "content", "normalizer"));
    } else {
      unsupported("normalizer", type);
    }
  }
  const bool to_metaspace =
      !parts.normalizer.replacements.empty() && parts.normalizer.replacements.front().first == " ";
  if (parts.normalizer.leading_space != LeadingSpace::never && !to_metaspace) {
    parts.normalizer.replacements.emplace(parts.normalizer.replacements.begin(), " ", kMetaspace);
  }
}

SplitBehavior read_behavior(const object& step) {
  const std::string name = json_string(step, "behavior", "pre_tokenizer");
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  fail_json("pre_tokenizer.behavior", fmt::format("'{}' is not supported", name));
}

void read_split(TokenizerParts& parts, const object& step) {
  if (json_flag(step, "invert", false, "pre_tokenizer"))
    fail_json("pre_tokenizer.invert", "is set, which is not supported");
  const SplitBehavior behavior = read_behavior(step);
  const value& pattern = json_field(step, "pattern", "pre_tokenizer");
  if (!pattern.is_object()) fail_json("pre_tokenizer.pattern", "is not an object");
  if (pattern.get_object().contains("String")) {
    parts.splitters.push_back(make_literal_splitter(read_literal(step, "pre_tokenizer"), behavior));
  } else {
    parts.splitters.push_back(
        make_pattern_splitter(json_string(pattern.get_object(), "Regex", "pre_tokenizer.pattern"), behavior));
  }
}

void read_byte_level(TokenizerParts& parts, const object& step, bool first) {
  if (json_flag(step, "add_prefix_space", true, "pre_tokenizer")) {
    if (!first)
      fail_json("pre_tokenizer", "has ByteLevel with add_prefix_space after another step, which is not supported");
    parts.normalizer.leading_space = LeadingSpace::where_not_there;
    parts.strip_leading_space = false;  // the ByteLevel decoder keeps the space
  }
  if (json_flag(step, "use_regex", true, "pre_tokenizer")) parts.splitters.push_back(make_gpt2_splitter());
}

void read_metaspace(TokenizerParts& parts, const object& step) {
  const value* scheme = step.if_contains("prepend_scheme");
  const bool old_flag = json_flag(step, "add_prefix_space", true, "pre_tokenizer");
  const std::string name = scheme && scheme->is_string() ? std::string(scheme->get_string())
                           : old_flag                    ? "always"
                                                         : "never";
  if (name == "first") {
    parts.normalizer.leading_space = LeadingSpace::at_text_start;
  } else if (name == "always") {
    parts.normalizer.leading_space = LeadingSpace::where_not_there;
  } else if (name != "never") {
    fail_json("pre_tokenizer.prepend_scheme", fmt::format("'{}' is not supported", name));
  }
  if (json_string(step, "replacement", "pre_tokenizer") != kMetaspace) {
    fail_json("pre_tokenizer.replacement", "is not U+2581, the only supported one");
  }
  parts.normalizer.replacements.emplace_back(" ", kMetaspace);
  if (json_flag(step, "split", true, "pre_tokenizer")) {
    parts.splitters.push_back(make_literal_splitter(std::string(kMetaspace), SplitBehavior::merged_with_next));
  }
}

bool read_pre_tokenizers(TokenizerParts& parts, const object& root) {
  bool byte_level = false;
  bool first = true;
  for (const object* step : list_steps(root, "pre_tokenizer", "pretokenizers")) {
    const std::string type = json_string(*step, "type", "pre_tokenizer");
    if (byte_level) fail_json("pre_tokenizer", "has a step after ByteLevel, which is not supported");
    if (type == "ByteLevel") {
      byte_level = true;
      read_byte_level(parts, *step, first);
    } else if (type == "Split") {
      read_split(parts, *step);
    } else if (type == "Digits") {
      parts.splitters.push_back(make_digit_splitter(json_flag(*step, "individual_digits", false, "pre_tokenizer")));
    } else if (type == "Metaspace") {
      if (!first) fail_json("pre_tokenizer", "has Metaspace after another step, which is not supported");
      read_metaspace(parts, *step);
    } else {
      unsupported("pre_tokenizer", type);
    }
    first = false;
  }
  return byte_level;
}

/// Decoding follows from the spelling (byte alphabet, or metaspace and byte tokens); only the leading space is read.
void read_decoders(TokenizerParts& parts, const object& root) {
  for (const object* step : list_steps(root, "decoder", "decoders")) {
    const std::string type = json_string(*step, "type", "decoder");
    if (type == "Strip" || (type == "Metaspace" && parts.normalizer.leading_space != LeadingSpace::never)) {
      parts.strip_leading_space = true;
    } else if (type != "ByteLevel" && type != "ByteFallback" && type != "Fuse" && type != "Replace" &&
               type != "Metaspace") {
      unsupported("decoder", type);
    }
  }
}

}  // namespace

void fail_json(std::string_view where, std::string_view what) {
  throw Error(Part::text, fmt::format("tokenizer.json: {} {}", where, what));
}

boost::json::value parse_json(std::string_view text, std::string_view file) {
  if (text.size() > kMaxTokenizerJsonBytes) {
    throw Error(Part::text,
                fmt::format("{} has {} bytes; at most {} are read", file, text.size(), kMaxTokenizerJsonBytes));
  }
  boost::json::parse_options options;
  options.max_depth = kMaxTokenizerJsonDepth;
  boost::system::error_code error;
  boost::json::stream_parser parser({}, options);
  const size_t used = parser.write_some(text.data(), text.size(), error);
  if (!error) parser.finish(error);
  if (error) throw Error(Part::text, fmt::format("{} is not JSON near byte {}: {}", file, used, error.message()));
  return parser.release();
}

const value& json_field(const object& fields, std::string_view name, std::string_view where) {
  const value* found = fields.if_contains(name);
  if (found == nullptr) fail_json(where, fmt::format("has no field '{}'", name));
  return *found;
}

std::string json_string(const object& fields, std::string_view name, std::string_view where) {
  const value& found = json_field(fields, name, where);
  if (!found.is_string()) fail_json(where, fmt::format("has a field '{}' that is not a string", name));
  return std::string(found.get_string());
}

bool json_flag(const object& fields, std::string_view name, bool absent, std::string_view where) {
  const value* found = fields.if_contains(name);
  if (found == nullptr || found->is_null()) return absent;
  if (!found->is_bool()) fail_json(where, fmt::format("has a field '{}' that is neither true nor false", name));
  return found->get_bool();
}

JsonSteps read_json_steps(TokenizerParts& parts, const object& root) {
  read_normalizers(parts, root);
  JsonSteps steps{.byte_level = read_pre_tokenizers(parts, root)};
  read_decoders(parts, root);
  return steps;
}

}  // namespace echelon
