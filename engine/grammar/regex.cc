#include "engine/grammar/regex.h"

#include <fmt/format.h>

#include <limits>
#include <map>
#include <optional>

#include "engine/grammar/code_points.h"
#include "engine/text/utf8.h"

namespace echelon {
namespace {

constexpr int kMaxGroups = 200;  ///< in each other
constexpr int kMaxRepeat = 100'000;

struct Node {
  enum class Kind : uint8_t { characters, sequence, choice, repeat, begin, end };
  Kind kind = Kind::sequence;
  CodePointSet characters;
  std::vector<Node> parts;
  int min = 0, max = kUnbounded;
};

CodePointSet digits() { return {'0', '9'}; }

CodePointSet word_characters() {
  CodePointSet set('a', 'z');
  set.insert('A', 'Z');
  set.insert('0', '9');
  set.insert('_');
  return set;
}

CodePointSet spaces() {
  CodePointSet set('\t', '\r');
  set.insert(' ');
  return set;
}

/// Everything that ECMA-262 or Python calls a space.
CodePointSet all_spaces() {
  CodePointSet set = spaces();
  set.insert(0x1C, 0x1F);
  for (const uint32_t point : {0x85u, 0xA0u, 0x1680u, 0x202Fu, 0x205Fu, 0x3000u, 0xFEFFu}) set.insert(point);
  set.insert(0x2000, 0x200A);
  set.insert(0x2028, 0x2029);
  return set;
}

class Parser {
 public:
  explicit Parser(std::string_view pattern) : pattern_(pattern) {}

  Node parse() {
    Node node = alternatives();
    if (!at_end()) fail("there is no group to be closed here");
    return node;
  }

 private:
  [[noreturn]] void fail(std::string_view what) const {
    throw GrammarError(fmt::format("regular expression, at byte {}: {}", at_, what));
  }
  bool at_end() const { return at_ >= pattern_.size(); }
  bool looking_at(std::string_view text) const { return pattern_.substr(at_).starts_with(text); }
  bool take(std::string_view text) {
    if (!looking_at(text)) return false;
    at_ += text.size();
    return true;
  }
  uint32_t take_point() {
    const CodePoint point = read_code_point(pattern_, at_);
    if (!point.valid) fail("not UTF-8");
    at_ += point.num_bytes;
    return point.value;
  }

  Node alternatives() {
    Node choice{.kind = Node::Kind::choice};
    do {
      choice.parts.push_back(sequence());
    } while (take("|"));
    return choice.parts.size() == 1 ? std::move(choice.parts.front()) : choice;
  }

  Node sequence() {
    Node sequence{.kind = Node::Kind::sequence};
    while (!at_end() && !looking_at("|") && !looking_at(")")) sequence.parts.push_back(quantified());
    return sequence;
  }

  Node quantified() {
    Node node = atom();
    const bool is_anchor = node.kind == Node::Kind::begin || node.kind == Node::Kind::end;
    for (int count = 0; const auto range = quantifier(); ++count) {
      if (is_anchor || count > 0) fail("nothing to repeat");
      if (take("+")) fail("possessive quantifiers are not supported");
      take("?");  // lazy: matches the same texts
      Node repeat{.kind = Node::Kind::repeat, .min = range->first, .max = range->second};
      repeat.parts.push_back(std::move(node));
      node = std::move(repeat);
    }
    return node;
  }

  std::optional<std::pair<int, int>> quantifier() {
    if (take("*")) return std::pair(0, kUnbounded);
    if (take("+")) return std::pair(1, kUnbounded);
    if (take("?")) return std::pair(0, 1);
    if (!looking_at("{")) return std::nullopt;
    const size_t start = at_++;
    const std::optional<int> min = number();
    int max = min.value_or(0);
    const bool has_comma = take(",");
    if (has_comma) max = number().value_or(kUnbounded);
    if (!take("}") || (!min && (!has_comma || max == kUnbounded))) {
      at_ = start;  // an ordinary brace
      return std::nullopt;
    }
    if (max != kUnbounded && max < min.value_or(0)) fail("the least number of repetitions is above the greatest");
    return std::pair(min.value_or(0), max);
  }

  std::optional<int> number() {
    std::optional<int> value;
    for (; !at_end() && pattern_[at_] >= '0' && pattern_[at_] <= '9'; ++at_) {
      value = value.value_or(0) * 10 + (pattern_[at_] - '0');
      if (*value > kMaxRepeat) fail(fmt::format("more than {} repetitions", kMaxRepeat));
    }
    return value;
  }

  Node atom() {
    if (take("(")) return group();
    if (take("^")) return {.kind = Node::Kind::begin};
    if (take("$")) return {.kind = Node::Kind::end};
    if (take("[")) return characters(char_class());
    if (take("\\")) return characters(escape(false));
    if (take(".")) {
      CodePointSet newlines('\n');
      for (const uint32_t point : {uint32_t{'\r'}, 0x2028u, 0x2029u}) newlines.insert(point);
      return characters(newlines.complement());
    }
    if (looking_at("*") || looking_at("+") || looking_at("?")) fail("nothing to repeat");
    return characters(CodePointSet(take_point()));
  }

  static Node characters(CodePointSet set) { return {.kind = Node::Kind::characters, .characters = std::move(set)}; }

  Node group() {
    if (++depth_ > kMaxGroups) fail("too many groups in each other");
    if (take("?")) {
      if (take("P<") || (looking_at("<") && !looking_at("<=") && !looking_at("<!") && take("<"))) {
        const size_t close = pattern_.find('>', at_);
        if (close == std::string_view::npos) fail("the name of the group does not end");
        at_ = close + 1;
      } else if (!take(":")) {
        fail(looking_at("=") || looking_at("!") || looking_at("<") ? "look-around is not supported"
                                                                   : "flags and conditions are not supported");
      }
    }
    Node inside = alternatives();
    if (!take(")")) fail("the group does not end");
    --depth_;
    return inside;
  }

  CodePointSet char_class() {
    const bool negated = take("^");
    CodePointSet set;
    if (looking_at("]")) fail("an empty class");
    while (!take("]")) {
      if (at_end()) fail("the class does not end");
      const size_t start = at_;
      const CodePointSet first = take("\\") ? escape(true) : CodePointSet(take_point());
      if (looking_at("-") && !looking_at("-]") && at_ + 1 < pattern_.size()) {
        ++at_;
        const CodePointSet last = take("\\") ? escape(true) : CodePointSet(take_point());
        const auto low = only_point(first), high = only_point(last);
        if (!low || !high || *low > *high) {
          at_ = start;
          fail("not a range");
        }
        set.insert(*low, *high);
      } else {
        set.insert(first);
      }
    }
    return negated ? set.complement() : set;
  }

  static std::optional<uint32_t> only_point(const CodePointSet& set) {
    if (set.ranges().size() != 1 || set.ranges()[0].first != set.ranges()[0].last) return std::nullopt;
    return set.ranges()[0].first;
  }

  /// Behind the backslash.
  CodePointSet escape(bool in_class) {
    if (at_end()) fail("a backslash at the end");
    const uint32_t point = take_point();
    switch (point) {
      case 'd':
        return digits();
      case 'D':
        return digits().complement();
      case 'w':
        return word_characters();
      case 'W':
        return word_characters().complement();
      case 's':
        return spaces();
      case 'S':
        return all_spaces().complement();
      case 't':
        return CodePointSet('\t');
      case 'n':
        return CodePointSet('\n');
      case 'r':
        return CodePointSet('\r');
      case 'f':
        return CodePointSet('\f');
      case 'v':
        return CodePointSet('\v');
      case '0':
        return CodePointSet(uint32_t{0});
      case 'x':
        return CodePointSet(hexadecimal(2));
      case 'u':
        return CodePointSet(unicode_escape());
      case 'b':
        if (in_class) return CodePointSet('\b');
        fail("word boundaries are not supported");
      case 'p':
      case 'P':
        fail("Unicode properties are not supported");
      default:
        break;
    }
    if ((point >= '1' && point <= '9') || point == 'k') fail("back-references are not supported");
    if ((point >= 'a' && point <= 'z') || (point >= 'A' && point <= 'Z')) fail("this escape is not supported");
    return CodePointSet(point);
  }

  uint32_t hexadecimal(int num_digits) {
    uint32_t value = 0;
    for (int i = 0; i < num_digits; ++i) value = value * 16 + hex_digit();
    return value;
  }
  uint32_t hex_digit() {
    const char c = at_end() ? '\0' : pattern_[at_];
    ++at_;
    if (c >= '0' && c <= '9') return static_cast<uint32_t>(c - '0');
    if (c >= 'a' && c <= 'f') return static_cast<uint32_t>(c - 'a' + 10);
    if (c >= 'A' && c <= 'F') return static_cast<uint32_t>(c - 'A' + 10);
    fail("not a hexadecimal digit");
  }
  uint32_t unicode_escape() {
    uint32_t value = 0;
    if (take("{")) {
      while (!take("}")) {
        value = value * 16 + hex_digit();
        if (value > CodePointSet::kLast) fail("not a code point");
      }
    } else {
      value = hexadecimal(4);
      if (value >= 0xD800 && value < 0xDC00 && take("\\u")) {
        const uint32_t low = hexadecimal(4);
        if (low < 0xDC00 || low > 0xDFFF) fail("half a surrogate pair");
        value = 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00);
      }
    }
    if (value >= 0xD800 && value <= 0xDFFF) fail("half a surrogate pair");
    return value;
  }

  std::string_view pattern_;
  size_t at_ = 0;
  int depth_ = 0;
};

/// What may stand before (or behind) a part of the pattern.
enum class Edge : uint8_t {
  inside,  ///< other parts of the pattern: an anchor cannot hold
  closed,  ///< nothing
  open,    ///< any text, unless an anchor forbids it
};

class Writer {
 public:
  Writer(Expressions& expressions, RegexText text) : expressions_(expressions), text_(text) {
    any_ = expressions_.repeat(character(CodePointSet::all()), 0, kUnbounded);
  }

  ExpressionId write(const Node& node, Edge before, Edge behind) {
    switch (node.kind) {
      case Node::Kind::characters:
        return surrounded(character(node.characters), before, behind);
      case Node::Kind::repeat:
        return surrounded(expressions_.repeat(write(node.parts[0], Edge::inside, Edge::inside), node.min, node.max),
                          before, behind);
      case Node::Kind::begin:
        if (before == Edge::inside) throw GrammarError("regular expression: ^ is supported at the beginning only");
        return surrounded(expressions_.empty(), Edge::closed, behind);
      case Node::Kind::end:
        if (behind == Edge::inside) throw GrammarError("regular expression: $ is supported at the end only");
        return surrounded(expressions_.empty(), before, Edge::closed);
      case Node::Kind::choice: {
        std::vector<ExpressionId> parts;
        for (const Node& part : node.parts) parts.push_back(write(part, before, behind));
        return expressions_.choice(std::move(parts));
      }
      case Node::Kind::sequence:
        break;
    }
    if (node.parts.empty()) return surrounded(expressions_.empty(), before, behind);
    std::vector<ExpressionId> parts;
    for (size_t i = 0; i < node.parts.size(); ++i)
      parts.push_back(
          write(node.parts[i], i == 0 ? before : Edge::inside, i + 1 == node.parts.size() ? behind : Edge::inside));
    return expressions_.sequence(std::move(parts));
  }

 private:
  ExpressionId character(const CodePointSet& set) {
    return text_ == RegexText::utf8 ? utf8_of(expressions_, set) : json_character(expressions_, set);
  }
  ExpressionId surrounded(ExpressionId inside, Edge before, Edge behind) {
    std::vector<ExpressionId> parts;
    if (before == Edge::open) parts.push_back(any_);
    parts.push_back(inside);
    if (behind == Edge::open) parts.push_back(any_);
    return expressions_.sequence(std::move(parts));
  }

  Expressions& expressions_;
  RegexText text_;
  ExpressionId any_;
};

}  // namespace

ExpressionId parse_regex(Expressions& expressions, std::string_view pattern, RegexText text, RegexMatch match) {
  const Edge edge = match == RegexMatch::whole ? Edge::closed : Edge::open;
  return Writer(expressions, text).write(Parser(pattern).parse(), edge, edge);
}

}  // namespace echelon
