// Text operations that filters, methods and operators of the template language share. Each is Python's of that name,
// and takes time in proportion to its input and output, whatever they hold. Internal to this folder.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/template_value.h"

namespace echelon::templates {

/// text.find(part, from) in bytes; std::string::npos when there is none.
size_t find_text(std::string_view text, std::string_view part, size_t from);
/// text.rfind(part) in bytes.
size_t rfind_text(std::string_view text, std::string_view part);
/// text.count(part).
int64_t count_text(Meter& meter, std::string_view text, std::string_view part);

/// text.strip(): both sides, or one; `characters` null or None strips white space.
std::string strip(const std::string& text, const Value* characters, bool left, bool right);
/// text.replace(from, to, count); count < 0: all.
std::string replace_text(Meter& meter, const std::string& text, const std::string& from, const std::string& to,
                         int64_t count);
/// text.splitlines(keep_ends).
std::vector<std::string> split_lines(Meter& meter, const std::string& text, bool keep_ends = false);
/// text.split(separator, limit), text.rsplit; without a separator at white space; limit < 0: all.
std::vector<std::string> split_text(Meter& meter, const std::string& text, const std::optional<std::string>& separator,
                                    int64_t limit, bool from_right);
std::string capitalize(const std::string& text);
/// The filter title: words end at white space and at any of -({[<.
std::string title_filter(const std::string& text);
/// text.title(): words are runs of letters with case.
std::string title_method(const std::string& text);
std::string swap_case(const std::string& text);
/// str.islower(), str.isupper().
bool is_cased_as(const std::string& text, bool upper);
bool is_title(const std::string& text);
/// markupsafe.escape.
std::string escape_html(const std::string& text);
/// text.center(width, fill) for side 0, ljust for -1, rjust for 1; width in code points.
std::string justify(Meter& meter, const std::string& text, int64_t width, const std::string& fill, int side);
/// text[begin:end] in code points, bounds as Python's slices with step 1.
std::string_view sub_text(std::string_view text, int64_t begin, int64_t end);

}  // namespace echelon::templates
