// A Hugging Face tokenizer.json as a tokenizer: vocabulary, merges, added tokens, decoder, post-processor.
// Normalizers and pre-tokenizers are in tokenizer_json_steps.cc. What is not supported is an error that names it.
#include "engine/text/tokenizer_json.h"

#include <fmt/format.h>

#include "kernels/base/limits.h"

namespace echelon {

namespace {

using boost::json::object;
using boost::json::value;

struct AddedToken {
  SpecialToken token;
  bool special = false;
  bool normalized = false;
};

TokenId read_id(const value& id, const std::string& where) {
  if (!id.is_int64() || id.get_int64() < 0 || id.get_int64() >= kMaxVocab) {
    fail_json(where, fmt::format("is not a token id from 0 to {}", kMaxVocab - 1));
  }
  return static_cast<TokenId>(id.get_int64());
}

std::vector<AddedToken> read_added_tokens(const object& root) {
  std::vector<AddedToken> tokens;
  const value* list = root.if_contains("added_tokens");
  if (list == nullptr || list->is_null()) return tokens;
  if (!list->is_array()) fail_json("added_tokens", "is not a list");
  for (const value& entry : list->get_array()) {
    const std::string where = fmt::format("added_tokens[{}]", tokens.size());
    if (!entry.is_object()) fail_json(where, "is not an object");
    const object& fields = entry.get_object();
    AddedToken added;
    added.token.text = json_string(fields, "content", where);
    if (added.token.text.size() > kMaxSpecialTokenBytes) {
      fail_json(where, fmt::format("is longer than {} bytes", kMaxSpecialTokenBytes));
    }
    added.token.id = read_id(json_field(fields, "id", where), where + ".id");
    added.token.strip_left = json_flag(fields, "lstrip", false, where);
    added.token.strip_right = json_flag(fields, "rstrip", false, where);
    added.token.whole_word = json_flag(fields, "single_word", false, where);
    added.special = json_flag(fields, "special", false, where);
    added.normalized = json_flag(fields, "normalized", false, where);
    tokens.push_back(std::move(added));
  }
  return tokens;
}

void put_spelling(TokenizerParts& parts, TokenId id, std::string_view spelling) {
  const auto place = static_cast<size_t>(id);
  if (place >= parts.spellings.size()) parts.spellings.resize(place + 1);
  parts.spellings[place] = spelling;
}

/// Ids may have gaps, but not many more than there are tokens: the table is as long as the largest id.
void read_vocabulary(TokenizerParts& parts, const object& model, const std::vector<AddedToken>& added) {
  const value& vocabulary = json_field(model, "vocab", "model");
  if (!vocabulary.is_object() || vocabulary.get_object().empty())
    fail_json("model.vocab", "is not an object of token: id");
  for (const auto& [spelling, id] : vocabulary.get_object()) {
    put_spelling(parts, read_id(id, fmt::format("model.vocab['{}']", std::string_view(spelling))), spelling);
  }
  for (const AddedToken& token : added) put_spelling(parts, token.token.id, token.token.text);
  parts.special.assign(parts.spellings.size(), false);
  for (const AddedToken& token : added) parts.special[static_cast<size_t>(token.token.id)] = token.special;
  index_spellings(parts);
}

std::pair<std::string, std::string> read_merge(const value& merge, const std::string& where) {
  if (merge.is_string()) {
    const std::string text(merge.get_string());
    const size_t space = text.find(' ', 1);
    if (space != std::string::npos && space + 1 < text.size()) return {text.substr(0, space), text.substr(space + 1)};
  } else if (merge.is_array() && merge.get_array().size() == 2 && merge.get_array()[0].is_string() &&
             merge.get_array()[1].is_string()) {
    return {std::string(merge.get_array()[0].get_string()), std::string(merge.get_array()[1].get_string())};
  }
  fail_json(where, "is neither \"left right\" nor [\"left\", \"right\"]");
}

MergeTable read_merges(const TokenizerParts& parts, const object& model) {
  const value& merges = json_field(model, "merges", "model");
  if (!merges.is_array()) fail_json("model.merges", "is not a list");
  const auto& list = merges.get_array();
  MergeTable table(list.size());
  for (size_t rank = 0; rank < list.size(); ++rank) {
    const std::string where = fmt::format("model.merges[{}]", rank);
    const auto [left, right] = read_merge(list[rank], where);
    const auto left_id = parts.id_of(left);
    const auto right_id = parts.id_of(right);
    const auto merged_id = parts.id_of(left + right);
    if (left.empty() || right.empty() || !left_id || !right_id || !merged_id) {
      fail_json(where, fmt::format("names '{}', which is not in model.vocab", !left_id    ? left
                                                                              : !right_id ? right
                                                                                          : left + right));
    }
    table.add({*left_id, *right_id, *merged_id, static_cast<int32_t>(rank)});
  }
  return table;
}

void refuse_if_set(const object& model, const char* field) {
  const value* found = model.if_contains(field);
  if (found == nullptr || found->is_null() || (found->is_string() && found->get_string().empty())) return;
  fail_json(fmt::format("model.{}", field), "is set, which is not supported");
}

void make_model(TokenizerParts& parts, const object& model, const JsonSteps& steps) {
  for (const char* field : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) refuse_if_set(model, field);
  RankMergerSetup setup{.byte_ids = {}, .byte_level = steps.byte_level};
  setup.whole_piece_first = json_flag(model, "ignore_merges", false, "model");
  setup.fuse_unknown = json_flag(model, "fuse_unk", false, "model");
  setup.byte_ids.fill(-1);
  if (const value* unknown = model.if_contains("unk_token"); unknown && unknown->is_string()) {
    parts.unknown_id = parts.id_of(std::string_view(unknown->get_string()));
    if (!parts.unknown_id) fail_json("model.unk_token", "is not in model.vocab");
    setup.unknown_id = parts.unknown_id;
  }
  const bool byte_tokens = !steps.byte_level && json_flag(model, "byte_fallback", false, "model");
  if (steps.byte_level || byte_tokens) {
    for (size_t byte = 0; byte < 256; ++byte) {
      const auto value = static_cast<uint8_t>(byte);
      setup.byte_ids[byte] =
          parts.id_of(steps.byte_level ? byte_to_spelling(value) : fallback_token_of_byte(value)).value_or(-1);
    }
  }
  for (const auto& entry : json_field(model, "vocab", "model").get_object()) {
    const std::string spelling(entry.key());
    const auto id = static_cast<TokenId>(entry.value().get_int64());
    const auto bytes = steps.byte_level ? bytes_of_spelling(spelling) : std::optional(spelling);
    if (bytes) setup.pieces.add(*bytes, id);
  }
  // ignore_merges makes a whole piece one token, so that more cuts would change it. Elsewhere than before spaces byte
  // tokens could merge, and a run of unknown characters may be one token.
  if (!steps.byte_level && !setup.whole_piece_first) add_word_splitter(parts, setup.pieces, true);
  parts.merger = make_rank_merger(std::move(setup), read_merges(parts, model));
}

void fill_token_bytes(TokenizerParts& parts, const JsonSteps& steps, const std::vector<AddedToken>& added) {
  for (const std::string& spelling : parts.spellings) {
    if (steps.byte_level) {
      parts.token_bytes.push_back(bytes_of_spelling(spelling).value_or(spelling));
    } else if (const auto byte = byte_of_fallback_token(spelling)) {
      parts.token_bytes.push_back(std::string(1, static_cast<char>(*byte)));
    } else {
      parts.token_bytes.push_back(replace_all(spelling, kMetaspace, " "));
    }
  }
  for (const AddedToken& token : added) parts.token_bytes[static_cast<size_t>(token.token.id)] = token.token.text;
}

void add_matchers(TokenizerParts& parts, const std::vector<AddedToken>& added) {
  for (AddedToken token : added) {
    if (token.normalized && !token.special && !parts.normalizer.is_identity()) {
      token.token.text = parts.normalizer.apply(token.token.text, false);
      parts.normalized_matched.add(token.token);
      continue;
    }
    if (!token.special) parts.always_matched.add(token.token);
    parts.all_matched.add(token.token);
  }
}

/// The post-processor puts special tokens before and after the text; only BOS and EOS are known here.
void read_post_processor(TokenizerParts& parts, const value* processor) {
  if (processor == nullptr || !processor->is_object()) return;
  const object& fields = processor->get_object();
  const std::string type = json_string(fields, "type", "post_processor");
  if (type == "Sequence") {
    const value& list = json_field(fields, "processors", "post_processor");
    if (!list.is_array()) fail_json("post_processor.processors", "is not a list");
    for (const value& inner : list.get_array()) {
      if (inner.is_object() && json_string(inner.get_object(), "type", "post_processor") != "Sequence") {
        read_post_processor(parts, &inner);
      }
    }
    return;
  }
  if (type == "ByteLevel") return;
  if (type != "TemplateProcessing") fail_json("post_processor.type", fmt::format("'{}' is not supported", type));
  const value& single = json_field(fields, "single", "post_processor");
  if (!single.is_array()) fail_json("post_processor.single", "is not a list");
  bool before = true;
  for (const value& step : single.get_array()) {
    if (!step.is_object()) fail_json("post_processor.single", "holds something that is not an object");
    if (step.get_object().contains("Sequence")) {
      before = false;
      continue;
    }
    const value* special = step.get_object().if_contains("SpecialToken");
    if (special == nullptr || !special->is_object()) fail_json("post_processor.single", "holds an unknown step");
    const auto id = parts.id_of(json_string(special->get_object(), "id", "post_processor.single"));
    if (!id) fail_json("post_processor.single", "names a token that is not in the vocabulary");
    (before ? parts.bos_id : parts.eos_id) = id;
    (before ? parts.add_bos : parts.add_eos) = true;
  }
}

void apply_config(TokenizerParts& parts, const TokenizerConfig& config) {
  const auto find = [&](const std::optional<std::string>& text, std::optional<TokenId>& id, std::string_view field) {
    if (!text) return;
    id = parts.id_of(*text);
    if (!id) {
      throw Error(Part::text,
                  fmt::format("tokenizer_config.json: {} is '{}', which is not in tokenizer.json", field, *text));
    }
  };
  find(config.bos_token, parts.bos_id, "bos_token");
  find(config.eos_token, parts.eos_id, "eos_token");
  find(config.unk_token, parts.unknown_id, "unk_token");
  find(config.pad_token, parts.padding_id, "pad_token");
  if (config.add_bos_token) parts.add_bos = *config.add_bos_token && parts.bos_id;
  if (config.add_eos_token) parts.add_eos = *config.add_eos_token && parts.eos_id;
}

}  // namespace

std::unique_ptr<Tokenizer> read_tokenizer_json(std::string_view json, std::string_view config_json) {
  const TokenizerConfig config = read_tokenizer_config(config_json);
  const value root = parse_json(json, "tokenizer.json");
  if (!root.is_object()) throw Error(Part::text, "tokenizer.json is not an object");
  const value& model = json_field(root.get_object(), "model", "tokenizer.json");
  if (!model.is_object()) fail_json("model", "is not an object");
  // Files written before the field existed are BPE when they have merges.
  const value* type = model.get_object().if_contains("type");
  if (type ? !type->is_string() || type->get_string() != "BPE" : !model.get_object().contains("merges")) {
    fail_json("model.type", "is not BPE, the only supported one");
  }
  auto parts = std::make_unique<TokenizerParts>();
  const auto added = read_added_tokens(root.get_object());
  read_vocabulary(*parts, model.get_object(), added);
  const JsonSteps steps = read_json_steps(*parts, root.get_object());
  make_model(*parts, model.get_object(), steps);
  fill_token_bytes(*parts, steps, added);
  add_matchers(*parts, added);
  read_post_processor(*parts, root.get_object().if_contains("post_processor"));
  apply_config(*parts, config);
  std::vector<TokenId> ends;
  if (parts->eos_id) ends.push_back(*parts->eos_id);
  parts->end_of_generation_ids = collect_end_of_generation(*parts, std::move(ends));
  return std::make_unique<Tokenizer>(std::move(parts));
}

}  // namespace echelon
