// Random numbers for ids and seeds. Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace echelon {

uint64_t random_u64();
/// In [0, 2^53): survives clients that read numbers as doubles.
int64_t random_seed();
/// "chatcmpl-" and 24 hexadecimal digits.
std::string random_id(std::string_view prefix);

}  // namespace echelon
