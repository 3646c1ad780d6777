// Cuts a template into tokens, with Jinja's white-space control: trim_blocks and lstrip_blocks on, as transformers sets
// them. Internal to this folder.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace echelon::templates {

enum class TokenKind {
  text,  ///< outside tags
  output_begin,
  output_end,
  tag_begin,
  tag_end,
  name,
  string,
  integer,
  real,
  op,
  end,
};

struct Token {
  TokenKind kind = TokenKind::end;
  std::string text;  ///< strings: unescaped
  int line = 1;
};

/// The last token is `end`. Throws Error(Part::text, "chat template, line N: ...").
std::vector<Token> tokenize(std::string_view source);

[[noreturn]] void fail_parse(int line, const std::string& message);

}  // namespace echelon::templates
