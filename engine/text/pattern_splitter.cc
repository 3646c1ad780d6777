// Patterns of a tokenizer.json: the known ones go to the hand-written splitters, others run in PCRE2.
// PCRE2 gets UTF and Unicode classes, and limits on match steps and heap (tokenizer.h): a pattern and a text may be
// hostile.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <array>

#include "engine/text/splitter.h"
#include "engine/text/tokenizer.h"
#include "engine/text/utf8.h"
#include "kernels/base/error.h"

namespace echelon {

namespace {

constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct PcreDeleter {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
template <typename T>
using PcrePtr = std::unique_ptr<T, PcreDeleter>;

std::string pcre_message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

class PcreSplitter final : public Splitter {
 public:
  PcreSplitter(const std::string& pattern, SplitBehavior behavior) : pattern_(pattern), behavior_(behavior) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                              PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr));
    if (!code_) {
      throw Error(Part::text, fmt::format("tokenizer.json: pre_tokenizer pattern '{}' is refused at offset {}: {}",
                                          pattern, offset, pcre_message(error)));
    }
    limits_.reset(pcre2_match_context_create(nullptr));
    if (!limits_) throw Error(Part::text, "tokenizer.json: no memory for the pre_tokenizer pattern");
    pcre2_set_match_limit(limits_.get(), kPatternMatchLimit);
    pcre2_set_heap_limit(limits_.get(), kPatternHeapKib);
  }

  /// Broken UTF-8 is cut out first, so that PCRE2 need not check the whole text at every match.
  void split(std::string_view text, std::vector<std::string_view>& pieces) const override {
    size_t begin = 0;
    for (size_t at = 0; at < text.size();) {
      const CodePoint point = read_code_point(text, at);
      if (!point.valid) {
        split_valid(text.substr(begin, at - begin), pieces);
        pieces.push_back(text.substr(at, point.num_bytes));
        begin = at + point.num_bytes;
      }
      at += point.num_bytes;
    }
    split_valid(text.substr(begin), pieces);
  }

 private:
  void split_valid(std::string_view text, std::vector<std::string_view>& pieces) const {
    const PcrePtr<pcre2_match_data> data(pcre2_match_data_create_from_pattern(code_.get(), nullptr));
    if (!data) throw Error(Part::text, "no memory to match the pre_tokenizer pattern");
    MatchCutter cutter(text, behavior_, pieces);
    for (size_t at = 0; at < text.size();) {
      const int found = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                                    PCRE2_NOTEMPTY | PCRE2_NO_UTF_CHECK, data.get(), limits_.get());
      if (found == PCRE2_ERROR_NOMATCH) break;
      if (found < 0) {
        throw Error(Part::text, fmt::format("the text cannot be cut by the tokenizer's pattern '{}': {}", pattern_,
                                            pcre_message(found)));
      }
      const PCRE2_SIZE* range = pcre2_get_ovector_pointer(data.get());
      if (range[1] <= at) break;  // \K in a lookahead may end a match before its beginning
      cutter.match(std::max<size_t>(range[0], at), range[1]);
      at = range[1];
    }
    cutter.finish();
  }

  std::string pattern_;
  SplitBehavior behavior_;
  PcrePtr<pcre2_code> code_;
  PcrePtr<pcre2_match_context> limits_;
};

}  // namespace

std::unique_ptr<const Splitter> make_pattern_splitter(const std::string& pattern, SplitBehavior behavior) {
  // These patterns match every character, so that only "isolated" (which they are used with) means the pieces
  // themselves.
  if (behavior == SplitBehavior::isolated) {
    if (pattern == kGpt2Pattern) return make_gpt2_splitter();
    if (pattern == kLlama3Pattern) return make_llama3_splitter(3);
    if (pattern == kQwen2Pattern) return make_llama3_splitter(1);
  }
  return std::make_unique<PcreSplitter>(pattern, behavior);
}

}  // namespace echelon
