// The hand-written pre-tokenizers: GPT-2, Llama-3 and Qwen2, digits, a fixed text.
// Each rule below carries the alternative of the published pattern that it stands for; the order is the pattern's
// order.
#include "engine/text/splitter.h"

#include <array>
#include <functional>

#include "engine/text/unicode.h"
#include "engine/text/utf8.h"

namespace echelon {

namespace {

using unicode::Class;

struct Classified {
  Class cls;
  char32_t point;
  size_t next;  ///< offset after the code point
};

constexpr std::array<Class, 128> make_ascii_classes() {
  std::array<Class, 128> classes{};
  for (char c = 'a'; c <= 'z'; ++c)
    classes[static_cast<size_t>(c)] = classes[static_cast<size_t>(c - 32)] = Class::letter;
  for (char c = '0'; c <= '9'; ++c) classes[static_cast<size_t>(c)] = Class::number;
  for (const char c : {' ', '\t', '\n', '\v', '\f', '\r'}) classes[static_cast<size_t>(c)] = Class::space;
  return classes;
}

constexpr std::array<Class, 128> kAsciiClasses = make_ascii_classes();

Classified classify(std::string_view text, size_t at) {
  const auto byte = static_cast<unsigned char>(text[at]);
  if (byte < 0x80) return {kAsciiClasses[byte], byte, at + 1};
  const CodePoint point = read_long_code_point(text, at);
  return {unicode::class_of(point.value), point.value, at + point.num_bytes};
}

size_t skip_class(std::string_view text, size_t at, Class cls, size_t limit = SIZE_MAX) {
  for (size_t count = 0; at < text.size() && count < limit; ++count) {
    const Classified here = classify(text, at);
    if (here.cls != cls) break;
    at = here.next;
  }
  return at;
}

/// 's 't 're 've 'm 'll 'd: the length of a contraction at `at`, or 0. Folding takes capitals and the long s along.
size_t contraction_length(std::string_view text, size_t at, bool fold) {
  if (text[at] != '\'' || at + 1 >= text.size()) return 0;
  const auto letter = [&](size_t offset) -> char {
    if (offset >= text.size()) return 0;
    const char c = text[offset];
    return fold && c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
  };
  const char first = letter(at + 1);
  const char second = letter(at + 2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l')) return 3;
  if (fold && text.substr(at + 1, 2) == "\xc5\xbf") return 3;
  return 0;
}

/// A run of white space from `at`: where it ends, where its last character begins, and what follows its last line
/// break.
struct SpaceRun {
  size_t end, last, after_newline;  ///< after_newline: 0 when there is no line break
};

SpaceRun space_run(std::string_view text, size_t at) {
  SpaceRun run{at, at, 0};
  while (run.end < text.size()) {
    const Classified here = classify(text, run.end);
    if (here.cls != Class::space) break;
    run.last = run.end;
    run.end = here.next;
    if (here.point == '\n' || here.point == '\r') run.after_newline = run.end;
  }
  return run;
}

/// \s+(?!\S)|\s+ : all of it at the end of the text, otherwise all but the last character, which goes to what follows.
size_t space_piece_end(std::string_view text, size_t at, const SpaceRun& run) {
  if (run.end == text.size() || run.last == at) return run.end;
  return run.last;
}

class Gpt2Splitter final : public Splitter {
 public:
  void split(std::string_view text, std::vector<std::string_view>& pieces) const override {
    for (size_t at = 0; at < text.size();) {
      const size_t end = piece_end(text, at);
      pieces.push_back(text.substr(at, end - at));
      at = end;
    }
  }

 private:
  static size_t piece_end(std::string_view text, size_t at) {
    if (const size_t length = contraction_length(text, at, false)) return at + length;
    const size_t word = text[at] == ' ' && at + 1 < text.size() ? at + 1 : at;
    const Classified first = classify(text, word);
    if (first.cls != Class::space)
      return skip_class(text, first.next, first.cls);  // ` ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+`
    return space_piece_end(text, at, space_run(text, at));
  }
};

class Llama3Splitter final : public Splitter {
 public:
  explicit Llama3Splitter(size_t max_digits) : max_digits_(max_digits) {}

  void split(std::string_view text, std::vector<std::string_view>& pieces) const override {
    for (size_t at = 0; at < text.size();) {
      const size_t end = piece_end(text, at);
      pieces.push_back(text.substr(at, end - at));
      at = end;
    }
  }

 private:
  static bool is_newline(char32_t point) { return point == '\n' || point == '\r'; }

  size_t piece_end(std::string_view text, size_t at) const {
    if (const size_t length = contraction_length(text, at, true)) return at + length;
    const Classified first = classify(text, at);
    if (first.cls == Class::letter) return skip_class(text, first.next, Class::letter);
    if (first.cls == Class::number) return skip_class(text, at, Class::number, max_digits_);  // `\p{N}{1,n}`
    const bool more = first.next < text.size();
    const Classified second = more ? classify(text, first.next) : Classified{Class::space, 0, first.next};
    if (!is_newline(first.point) && second.cls == Class::letter) {  // `[^\r\n\p{L}\p{N}]?\p{L}+`
      return skip_class(text, second.next, Class::letter);
    }
    const bool spaced = first.point == ' ' && second.cls == Class::other;
    if (first.cls == Class::other || spaced) {  // ` ?[^\s\p{L}\p{N}]+[\r\n]*`
      size_t end = skip_class(text, first.next, Class::other);
      while (end < text.size() && is_newline(static_cast<unsigned char>(text[end]))) ++end;
      return end;
    }
    const SpaceRun run = space_run(text, at);
    if (run.after_newline != 0) return run.after_newline;  // `\s*[\r\n]+`
    return space_piece_end(text, at, run);
  }

  size_t max_digits_;
};

class DigitSplitter final : public Splitter {
 public:
  explicit DigitSplitter(bool individual) : individual_(individual) {}

  void split(std::string_view text, std::vector<std::string_view>& pieces) const override {
    MatchCutter cutter(text, SplitBehavior::isolated, pieces);
    for (size_t at = 0; at < text.size();) {
      const Classified here = classify(text, at);
      if (here.cls == Class::number) {
        const size_t end = individual_ ? here.next : skip_class(text, here.next, Class::number);
        cutter.match(at, end);
        at = end;
      } else {
        at = here.next;
      }
    }
    cutter.finish();
  }

 private:
  bool individual_;
};

class LiteralSplitter final : public Splitter {
 public:
  LiteralSplitter(std::string literal, SplitBehavior behavior) : literal_(std::move(literal)), behavior_(behavior) {}

  void split(std::string_view text, std::vector<std::string_view>& pieces) const override {
    MatchCutter cutter(text, behavior_, pieces);
    for (size_t at = text.find(literal_); at != std::string_view::npos;
         at = text.find(literal_, at + literal_.size())) {
      cutter.match(at, at + literal_.size());
    }
    cutter.finish();
  }

 private:
  std::string literal_;
  SplitBehavior behavior_;
};

class WordSplitter final : public Splitter {
 public:
  WordSplitter(std::unique_ptr<const JoinedPairs> joined, bool before_spaces)
      : joined_(std::move(joined)), before_spaces_(before_spaces) {
    for (size_t pair = 0; pair < ascii_cuts_.size(); ++pair)
      ascii_cuts_[pair] = !before_spaces_ && !joined_->holds(static_cast<char32_t>(pair >> 7), pair & 0x7f);
  }

  /// Every third character or so is cut at, which no processor foresees: places are noted without a branch.
  void split(std::string_view text, std::vector<std::string_view>& pieces) const override {
    std::array<size_t, 256> cuts;
    size_t num_cuts = 0, begin = 0;
    const auto take_cuts = [&] {
      for (size_t i = 0; i < num_cuts; begin = cuts[i++]) pieces.push_back(text.substr(begin, cuts[i] - begin));
      num_cuts = 0;
    };
    char32_t previous = 0;
    for (size_t at = 0; at < text.size();) {
      cuts[num_cuts] = at;
      char32_t here = static_cast<unsigned char>(text[at]);
      size_t num_bytes = 1;
      if (here == 0xe2 && text.substr(at, kMetaspace.size()) == kMetaspace) {  // nearly all that is not ASCII
        here = kMetaspacePoint;
        num_bytes = kMetaspace.size();
      } else if (here >= 0x80) {
        const CodePoint point = read_long_code_point(text, at);
        here = point.value;
        num_bytes = point.num_bytes;
      }
      num_cuts += static_cast<size_t>((at > 0) & may_cut(previous, here));
      if (num_cuts == cuts.size()) take_cuts();
      previous = here;
      at += num_bytes;
    }
    take_cuts();
    if (begin < text.size()) pieces.push_back(text.substr(begin));
  }

 private:
  static constexpr char32_t kMetaspacePoint = 0x2581;
  static constexpr std::string_view kMetaspace = "\u2581";

  bool may_cut(char32_t left, char32_t right) const {
    if ((left | right) < 0x80) return ascii_cuts_[left << 7 | right];
    return (!before_spaces_ | (right == kMetaspacePoint)) & !joined_->holds(left, right);
  }

  std::unique_ptr<const JoinedPairs> joined_;
  bool before_spaces_;
  std::array<bool, 128 * 128> ascii_cuts_{};
};

}  // namespace

void MatchCutter::put(size_t begin, size_t end) {
  if (end > begin) pieces_.push_back(text_.substr(begin, end - begin));
}

void MatchCutter::match(size_t begin, size_t end) {
  switch (behavior_) {
    case SplitBehavior::isolated:
      put(done_, begin);
      put(begin, end);
      done_ = end;
      return;
    case SplitBehavior::removed:
      put(done_, begin);
      done_ = end;
      return;
    case SplitBehavior::merged_with_previous:
      put(done_, end);
      done_ = end;
      return;
    case SplitBehavior::merged_with_next:
      put(done_, begin);
      done_ = begin;
      return;
  }
}

void MatchCutter::finish() {
  put(done_, text_.size());
  done_ = text_.size();
}

std::unique_ptr<const Splitter> make_gpt2_splitter() { return std::make_unique<Gpt2Splitter>(); }

std::unique_ptr<const Splitter> make_llama3_splitter(size_t max_digits) {
  return std::make_unique<Llama3Splitter>(max_digits);
}

std::unique_ptr<const Splitter> make_digit_splitter(bool individual) {
  return std::make_unique<DigitSplitter>(individual);
}

std::unique_ptr<const Splitter> make_word_splitter(std::unique_ptr<const JoinedPairs> joined, bool before_spaces) {
  return std::make_unique<WordSplitter>(std::move(joined), before_spaces);
}

std::unique_ptr<const Splitter> make_literal_splitter(std::string literal, SplitBehavior behavior) {
  return std::make_unique<LiteralSplitter>(std::move(literal), behavior);
}

}  // namespace echelon
