// The parser of expressions and statements: recursive descent over the lexer's tokens. Internal to this folder.
// Precedence, from loose to tight: if-else, or, and, not, comparisons, + -, ~, * / // %, **, unary, postfix, filters
// and tests.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/template_ast.h"
#include "engine/text/template_lexer.h"

namespace echelon::templates {

/// A cursor over the tokens, shared by the parsers of expressions and of statements.
class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
  const Token& peek(size_t ahead = 0) const;
  Token next();
  bool at_op(std::string_view op) const { return peek().kind == TokenKind::op && peek().text == op; }
  bool at_name(std::string_view name) const { return peek().kind == TokenKind::name && peek().text == name; }
  bool take_op(std::string_view op);
  bool take_name(std::string_view name);
  void expect_op(std::string_view op);
  std::string expect_name();
  void expect(TokenKind kind, std::string_view what);
  int line() const { return peek().line; }
  [[noreturn]] void fail_unexpected() const;

  /// Counts nested constructs while it lives.
  class Nested {
   public:
    explicit Nested(TokenStream& tokens);
    ~Nested() { --tokens_.depth_; }

   private:
    TokenStream& tokens_;
  };

 private:
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
};

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& tokens) : tokens_(tokens) {}
  /// One expression; `with_condition`: "a if b else c" may be it.
  ExprPtr parse(bool with_condition = true);
  /// One expression, or several with commas: a tuple.
  ExprPtr parse_tuple(bool with_condition = true);
  /// "name(...) | name ...", applied to `input` (null in a filter block).
  ExprPtr parse_filter_chain(ExprPtr input, bool bar_first);
  std::vector<Argument> parse_arguments();

 private:
  ExprPtr parse_condition();
  ExprPtr parse_or();
  ExprPtr parse_and();
  ExprPtr parse_not();
  ExprPtr parse_compare();
  ExprPtr parse_sum();
  ExprPtr parse_concat();
  ExprPtr parse_product();
  ExprPtr parse_power();
  ExprPtr parse_unary(bool with_filter);
  ExprPtr parse_primary();
  ExprPtr parse_postfix(ExprPtr node);
  ExprPtr parse_subscript(ExprPtr node);
  ExprPtr parse_filters_and_tests(ExprPtr node);
  ExprPtr parse_test(ExprPtr node);
  ExprPtr parse_list();
  ExprPtr parse_dict();
  ExprPtr parse_binary(ExprPtr (ExpressionParser::*part)(), std::initializer_list<std::string_view> ops);
  bool at_tuple_end() const;

  TokenStream& tokens_;
};

}  // namespace echelon::templates
