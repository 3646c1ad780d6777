// What texts a grammar allows, worked out slowly from the expressions themselves, and helpers of the tests.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/grammar/expression.h"
#include "engine/grammar/grammar.h"

namespace echelon {

/// Where texts of an expression that begin at a place of `text` may end.
class ReferenceMatcher {
 public:
  ReferenceMatcher(const Expressions& expressions, std::string_view text) : expressions_(expressions), text_(text) {}
  bool matches(RuleId root) { return ends(expressions_.body(root), 0).contains(text_.size()); }

 private:
  using Ends = std::set<size_t>;

  const Ends& ends(ExpressionId id, size_t from) {
    const std::pair key(id, from);
    if (const auto found = known_.find(key); found != known_.end()) return found->second;
    return known_[key] = find_ends(expressions_[id], from);
  }

  Ends find_ends(const Expression& node, size_t from) {
    switch (node.kind) {
      case Expression::Kind::nothing:
        return {};
      case Expression::Kind::empty:
        return {from};
      case Expression::Kind::bytes:
        if (from < text_.size() && node.bytes.contains(static_cast<uint8_t>(text_[from]))) return {from + 1};
        return {};
      case Expression::Kind::sequence: {
        Ends at{from};
        for (const ExpressionId part : node.parts) at = after_each(at, part);
        return at;
      }
      case Expression::Kind::choice: {
        Ends all;
        for (const ExpressionId part : node.parts) all.merge(Ends(ends(part, from)));
        return all;
      }
      case Expression::Kind::repeat:
        return repeated(node, from);
      case Expression::Kind::rule:
        return ends(expressions_.body(node.rule), from);
      case Expression::Kind::intersection:
      case Expression::Kind::difference: {
        Ends result;
        const Ends& other = ends(node.parts[1], from);
        for (const size_t end : Ends(ends(node.parts[0], from))) {
          if (other.contains(end) == (node.kind == Expression::Kind::intersection)) result.insert(end);
        }
        return result;
      }
    }
    return {};
  }

  Ends after_each(const Ends& at, ExpressionId part) {
    Ends next;
    for (const size_t position : at) next.merge(Ends(ends(part, position)));
    return next;
  }

  Ends repeated(const Expression& node, size_t from) {
    Ends at{from}, all;
    for (int i = 0; i < node.min; ++i) at = after_each(at, node.parts[0]);
    all = at;
    for (int i = node.min; node.max == kUnbounded || i < node.max; ++i) {
      at = after_each(at, node.parts[0]);
      const size_t before = all.size();
      all.insert(at.begin(), at.end());
      if (all.size() == before) break;
    }
    return all;
  }

  const Expressions& expressions_;
  std::string_view text_;
  std::map<std::pair<ExpressionId, size_t>, Ends> known_;
};

/// Single bytes, and then the texts given; the last id ends a generation, the one before is a control token.
inline std::shared_ptr<const GrammarVocabulary> vocabulary_of(std::vector<std::string> more) {
  std::vector<std::string> texts;
  for (int byte = 0; byte < 256; ++byte) texts.push_back(std::string(1, static_cast<char>(byte)));
  for (std::string& text : more) texts.push_back(std::move(text));
  texts.emplace_back();
  texts.emplace_back();
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  const auto end = static_cast<TokenId>(texts.size() - 1);
  return std::make_shared<const GrammarVocabulary>(views, std::vector{end}, static_cast<int64_t>(texts.size()) + 7);
}

inline std::shared_ptr<const Grammar> compile(GrammarKind kind, std::string text,
                                              std::shared_ptr<const GrammarVocabulary> vocabulary = vocabulary_of({})) {
  return compile_grammar({.kind = kind, .text = std::move(text)}, std::move(vocabulary));
}

/// The grammar allows the whole text, byte by byte.
inline bool accepts(const std::shared_ptr<const Grammar>& grammar, std::string_view text) {
  Matcher matcher(grammar);
  for (const char c : text) {
    if (!matcher.advance(static_cast<uint8_t>(c))) return false;
  }
  return matcher.may_end();
}

/// What compile() says against it; empty: nothing.
inline std::string refusal(GrammarKind kind, std::string text) {
  try {
    compile(kind, std::move(text));
    return "";
  } catch (const GrammarError& error) {
    return error.what();
  }
}

/// Texts of a grammar, token by token from what the mask allows. Ends after max_tokens where the grammar goes on.
struct Sample {
  std::string text;
  bool ended = false;
};
inline Sample sample(const std::shared_ptr<const Grammar>& grammar, std::mt19937_64& random, int max_tokens) {
  const GrammarVocabulary& vocabulary = grammar->vocabulary();
  Matcher matcher(grammar);
  TokenMask mask(vocabulary.width());
  Sample result;
  for (int i = 0; i < max_tokens; ++i) {
    matcher.fill(mask);
    std::vector<TokenId> allowed;
    for (TokenId token = 0; token < vocabulary.all().num_ids(); ++token) {
      if (mask.allows(token)) allowed.push_back(token);
    }
    if (allowed.empty()) return result;
    // Near the end whatever comes to an end is taken, so that most samples do.
    const TokenId end = vocabulary.end_tokens().front();
    const bool ends = mask.allows(end) && (i > max_tokens / 2 || random() % 4 == 0);
    const TokenId token = ends ? end : allowed[random() % allowed.size()];
    if (!matcher.advance(token)) return {.text = result.text + "<refused>"};
    if (token == end) {
      result.ended = true;
      return result;
    }
    result.text += vocabulary.all().token_bytes(token);
  }
  return result;
}

}  // namespace echelon
