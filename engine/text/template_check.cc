// Checks of tokenizer, template and weights against each other.
// A marker is looked for in the template's string literals and text: "<|...|>", "<name_of_turn>", "[NAME]".
#include "engine/text/template_check.h"

#include <fmt/format.h>

#include <algorithm>

namespace echelon {

namespace {

constexpr size_t kMaxMarkerBytes = 64;
constexpr size_t kMaxMarkers = 256;

bool is_word(std::string_view text, bool capitals) {
  const auto fits = [&](char c) {
    return c == '_' || (c >= 'A' && c <= 'Z') || (!capitals && ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')));
  };
  return !text.empty() && std::all_of(text.begin(), text.end(), fits);
}

/// The marker that begins at `at`, or an empty text.
std::string_view marker_at(std::string_view source, size_t at) {
  const char open = source[at];
  const size_t end = source.find(open == '<' ? '>' : ']', at);
  if (end == std::string_view::npos || end + 1 - at > kMaxMarkerBytes) return {};
  const std::string_view marker = source.substr(at, end + 1 - at);
  std::string_view inside = marker.substr(1, marker.size() - 2);
  if (open == '[') {
    if (inside.starts_with('/')) inside.remove_prefix(1);
    return is_word(inside, true) ? marker : std::string_view();
  }
  if (inside.size() > 2 && inside.front() == '|' && inside.back() == '|') {
    return is_word(inside.substr(1, inside.size() - 2), false) ? marker : std::string_view();
  }
  // Plain <tags> may be ordinary text for the model; those that frame turns are not.
  return inside == "start_of_turn" || inside == "end_of_turn" ? marker : std::string_view();
}

}  // namespace

std::vector<std::string> find_markers(std::string_view template_source) {
  std::vector<std::string> markers;
  for (size_t at = 0; at < template_source.size() && markers.size() < kMaxMarkers; ++at) {
    if (template_source[at] != '<' && template_source[at] != '[') continue;
    const std::string marker(marker_at(template_source, at));
    if (!marker.empty() && std::find(markers.begin(), markers.end(), marker) == markers.end())
      markers.push_back(marker);
  }
  return markers;
}

std::vector<Mismatch> check_text_fits(const Tokenizer& tokenizer, int64_t num_embedding_rows,
                                      const ChatTemplate* chat_template) {
  using Severity = Mismatch::Severity;
  std::vector<Mismatch> found;
  const int64_t num_tokens = tokenizer.vocabulary_size();
  if (num_tokens > num_embedding_rows) {
    found.push_back({Severity::error, fmt::format("the tokenizer has {} tokens, but the embedding table only {} rows",
                                                  num_tokens, num_embedding_rows)});
  }
  const std::pair<std::string_view, std::optional<TokenId>> specials[] = {{"BOS", tokenizer.bos_id()},
                                                                          {"EOS", tokenizer.eos_id()},
                                                                          {"unknown", tokenizer.unknown_id()},
                                                                          {"padding", tokenizer.padding_id()}};
  for (const auto& [name, id] : specials) {
    if (id && *id >= num_embedding_rows) {
      found.push_back({Severity::error, fmt::format("the {} token has id {}, but the embedding table only {} rows",
                                                    name, *id, num_embedding_rows)});
    }
  }
  if (tokenizer.end_of_generation_ids().empty()) {
    found.push_back(
        {Severity::warning, "the tokenizer names no token that ends an answer; answers end at their length limit"});
  }
  if (chat_template == nullptr) return found;
  for (const std::string& marker : find_markers(chat_template->source())) {
    const size_t num_parts = tokenizer.encode(marker, {.parse_special = true}).size();
    if (num_parts == 1) continue;
    found.push_back({Severity::warning,
                     fmt::format("the chat template writes '{}', which is not one token of this tokenizer but {}",
                                 marker, num_parts)});
  }
  return found;
}

}  // namespace echelon
