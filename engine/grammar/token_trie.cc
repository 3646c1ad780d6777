#include "engine/grammar/token_trie.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace echelon {

TokenTrie::TokenTrie(std::span<const std::string_view> bytes, const std::vector<bool>& in) : text_offsets_{0} {
  for (const std::string_view each : bytes) {
    text_ += each;
    text_offsets_.push_back(text_.size());
  }
  // Longer tokens than depths can say are left out: nothing is lost but a way to write them at once.
  constexpr size_t kMaxTokenBytes = std::numeric_limits<uint16_t>::max();
  for (size_t id = 0; id < bytes.size(); ++id) {
    if (!in.empty() && !in[id]) continue;
    if (!bytes[id].empty() && bytes[id].size() <= kMaxTokenBytes) tokens_.push_back(static_cast<TokenId>(id));
  }
  std::sort(tokens_.begin(), tokens_.end(), [&](TokenId a, TokenId b) {
    const int order = token_bytes(a).compare(token_bytes(b));
    return order != 0 ? order < 0 : a < b;
  });

  std::vector<int32_t> path;  // nodes from the first byte to the last token's last one
  std::string_view last;
  const auto close = [&](size_t depth) {
    for (; path.size() > depth; path.pop_back()) ends_[static_cast<size_t>(path.back())] = num_nodes();
  };
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const std::string_view text = token_bytes(tokens_[i]);
    const auto shared =
        static_cast<size_t>(std::mismatch(text.begin(), text.end(), last.begin(), last.end()).first - text.begin());
    close(shared);
    for (size_t depth = shared; depth < text.size(); ++depth) {
      path.push_back(num_nodes());
      bytes_.push_back(static_cast<uint8_t>(text[depth]));
      depths_.push_back(static_cast<uint16_t>(depth));
      ends_.push_back(0);
      first_tokens_.push_back(static_cast<int32_t>(i));
    }
    max_depth_ = std::max(max_depth_, static_cast<int>(text.size()));
    last = text;
  }
  close(0);
  first_tokens_.push_back(static_cast<int32_t>(tokens_.size()));
  for (int32_t node = 0; node < num_nodes(); node = end(node)) by_byte_[byte(node)] = {.first = node, .end = end(node)};
}

}  // namespace echelon
