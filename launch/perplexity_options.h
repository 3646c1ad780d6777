// The command line of `echelon perplexity`: a text, and every option of serve.
#pragma once

#include <string>
#include <vector>

#include "launch/options.h"

namespace echelon {

struct PerplexityOptions {
  ServeOptions serve;
  std::string text;  ///< a file
  int window = 512;  ///< tokens
  std::string json;  ///< a file; empty: none
};

struct PerplexityInvocation : Invocation {
  PerplexityOptions options;
};

Command perplexity_command(PerplexityOptions& options);

/// As parse_command().
PerplexityInvocation parse_perplexity(const std::vector<std::string>& arguments, const Environment& environment);

std::string perplexity_help();

}  // namespace echelon
