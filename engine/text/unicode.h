// Questions about code points that pre-tokenizers and templates ask: class, letter case, normal form C.
// From generated tables of Unicode 14.0.0 (make_unicode_tables.py). All functions are pure; a lookup is O(log table),
// but for class_of.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace echelon::unicode {

/// Which of is_letter, is_number and is_space holds, as pre-tokenizers ask for every character.
enum class Class : uint8_t { other, letter, number, space };
/// O(1) below U+20000.
Class class_of(char32_t point);

bool is_letter(char32_t point);        ///< \p{L}
bool is_number(char32_t point);        ///< \p{N}
bool is_space(char32_t point);         ///< \s of the tokenizers: the property White_Space
bool is_python_space(char32_t point);  ///< str.isspace(): White_Space and U+001C to U+001F
bool is_printable(char32_t point);     ///< str.isprintable()
bool is_decimal(char32_t point);       ///< str.isdecimal()
bool is_digit(char32_t point);         ///< str.isdigit()
bool is_numeric(char32_t point);       ///< str.isnumeric()
bool has_case(char32_t point);         ///< upper and lower case differ

/// Full case mappings as str.upper() and str.lower() do them, the final sigma included.
std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
/// The first letter of a word as str.title() writes it.
void append_title(std::string& out, char32_t point);

/// Normal form C (Unicode Standard Annex 15). Broken bytes pass unchanged. O(n log n) for a text of marks only.
std::string normalize_nfc(std::string_view text);

}  // namespace echelon::unicode
