// What becomes of the pooled vectors of a request's prompts. Plain data: made by the parsers of this folder, read by
// its answers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace echelon {

struct VectorUse {
  // /v1/embeddings
  bool normalize = true;   ///< to length 1
  int64_t dimensions = 0;  ///< the first so many; 0: all
  bool base64 = false;     ///< of float32, little-endian; else numbers

  // /score and /rerank
  std::vector<std::pair<size_t, size_t>> pairs;  ///< of prompts; a pair's score is the cosine of its vectors
  std::vector<std::string> documents;            ///< what a ranking repeats; empty: nothing
  size_t num_returned = 0;                       ///< the best so many of a ranking; 0: all
};

}  // namespace echelon
