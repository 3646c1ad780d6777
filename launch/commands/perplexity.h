// `echelon perplexity`: how well a model foresees a text, on every rank.
#pragma once

#include <string>
#include <vector>

namespace echelon {

/// `arguments`: what follows "perplexity". Returns the exit code: 0, or 1 when it was told to end before. A fault of
/// the job ends the process by end_job().
int perplexity(const std::vector<std::string>& arguments);

}  // namespace echelon
