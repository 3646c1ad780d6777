// The id of a token in the model's vocabulary.
#pragma once

#include <cstdint>

namespace echelon {
using TokenId = int32_t;
}  // namespace echelon
