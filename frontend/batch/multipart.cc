// One pass over the body. Cost: one search for the delimiter in each part.
#include "frontend/batch/multipart.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "engine/text/utf8.h"
#include "frontend/iequals.h"
#include "frontend/refusals.h"

namespace echelon {
namespace {

constexpr size_t kMaxBoundaryBytes = 70;  ///< RFC 2046, 5.1.1
constexpr std::string_view kLineEnd = "\r\n";

RequestError malformed(std::string message) {
  return bad_request("", "multipart/form-data: " + message, "invalid_form");
}

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

bool is_token(std::string_view text) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || kMarks.find(c) != kMarks.npos;
  });
}

struct FieldValue {
  std::string_view first;                    ///< "form-data"
  std::map<std::string, std::string> named;  ///< names in lower case
};

/// `first; name=token; name="quoted"`. Nothing when it is not that, or a name is there twice.
std::optional<FieldValue> parse_value(std::string_view text) {
  FieldValue value;
  size_t at = std::min(text.find(';'), text.size());
  value.first = trimmed(text.substr(0, at));
  while (at < text.size()) {
    ++at;  // the semicolon
    const size_t equals = text.find('=', at);
    if (equals == std::string_view::npos) return std::nullopt;
    const std::string_view name = trimmed(text.substr(at, equals - at));
    if (!is_token(name)) return std::nullopt;
    std::string content;
    at = equals + 1;
    if (at < text.size() && text[at] == '"') {
      for (++at;; ++at) {  // ends with the text
        if (at >= text.size()) return std::nullopt;
        if (text[at] == '"') break;
        if (text[at] == '\\' && at + 1 < text.size() && (text[at + 1] == '"' || text[at + 1] == '\\')) ++at;
        content += text[at];
      }
      ++at;
    } else {
      const size_t end = std::min(text.find(';', at), text.size());
      content = trimmed(text.substr(at, end - at));
      if (!is_token(content)) return std::nullopt;
      at = end;
    }
    while (at < text.size() && (text[at] == ' ' || text[at] == '\t')) ++at;
    if (at < text.size() && text[at] != ';') return std::nullopt;
    std::string key(name);
    std::transform(key.begin(), key.end(), key.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
    if (!value.named.emplace(std::move(key), std::move(content)).second) return std::nullopt;
  }
  return value;
}

RequestResult<std::string> boundary_of(std::string_view content_type) {
  const auto value = parse_value(content_type);
  if (!value || !iequals(value->first, "multipart/form-data"))
    return bad_request("", "the Content-Type must be multipart/form-data with a boundary", "invalid_form");
  const auto found = value->named.find("boundary");
  if (found == value->named.end() || found->second.empty()) return malformed("the Content-Type has no boundary");
  const std::string& boundary = found->second;
  constexpr std::string_view kMarks = "'()+_,-./:=? ";
  const bool plain = std::all_of(boundary.begin(), boundary.end(), [&](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || kMarks.find(c) != kMarks.npos;
  });
  if (!plain || boundary.size() > kMaxBoundaryBytes || boundary.back() == ' ')
    return malformed(fmt::format("the boundary must be 1 to {} letters, digits and '()+_,-./:=?", kMaxBoundaryBytes));
  return boundary;
}

std::optional<RequestError> read_disposition(std::string_view text, FormPart& part) {
  const auto value = parse_value(text);
  if (!value || !iequals(value->first, "form-data")) return malformed("a Content-Disposition is not form-data");
  for (const auto& [name, content] : value->named) {
    if (!is_valid_utf8(content) ||
        std::any_of(content.begin(), content.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }))
      return malformed(fmt::format("{} of a part is not a text of UTF-8 without control characters", name));
    if (name == "name") {
      part.name = content;
    } else if (name == "filename") {
      if (content.size() > kMaxFileNameBytes)
        return malformed(fmt::format("a filename has more than {} bytes", kMaxFileNameBytes));
      part.file_name = content;
    } else {
      return malformed("a Content-Disposition has more than name and filename");
    }
  }
  if (part.name.empty()) return malformed("a part has no name");
  return std::nullopt;
}

std::optional<RequestError> read_header(std::string_view header, FormPart& part) {
  bool has_disposition = false;
  while (!header.empty()) {
    const size_t end = std::min(header.find(kLineEnd), header.size());
    const std::string_view line = header.substr(0, end);
    header.remove_prefix(std::min(header.size(), end + kLineEnd.size()));
    const size_t colon = line.find(':');
    const std::string_view name = line.substr(0, std::min(colon, line.size()));
    if (colon == std::string_view::npos || !is_token(name)) return malformed("a line of a part's header is no field");
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (iequals(name, "Content-Disposition")) {
      if (std::exchange(has_disposition, true)) return malformed("a part has two Content-Dispositions");
      if (auto error = read_disposition(value, part)) return error;
    } else if (iequals(name, "Content-Transfer-Encoding")) {
      if (!iequals(value, "binary") && !iequals(value, "8bit") && !iequals(value, "7bit"))
        return malformed("a part has a Content-Transfer-Encoding: send it as it is");
    }
  }
  if (!has_disposition) return malformed("a part has no Content-Disposition");
  return std::nullopt;
}

}  // namespace

RequestResult<std::vector<FormPart>> parse_form(std::string_view content_type, std::string_view body) {
  const auto boundary = boundary_of(content_type);
  if (boundary.has_error()) return boundary.error();
  const std::string delimiter = fmt::format("{}--{}", kLineEnd, *boundary);
  const std::string_view first = std::string_view(delimiter).substr(kLineEnd.size());
  if (!body.starts_with(first)) return malformed("the body does not begin with the boundary");
  body.remove_prefix(first.size());
  std::vector<FormPart> parts;
  while (!body.starts_with("--")) {  // every turn takes a part off
    if (!body.starts_with(kLineEnd)) return malformed("a boundary is followed by something else");
    if (parts.size() == kMaxFormParts) return malformed(fmt::format("more than {} parts", kMaxFormParts));
    body.remove_prefix(kLineEnd.size());
    const size_t header_end = body.substr(0, kMaxFormPartHeaderBytes).find("\r\n\r\n");
    if (header_end == std::string_view::npos)
      return malformed(fmt::format("the header of a part has no end within {} bytes", kMaxFormPartHeaderBytes));
    FormPart part;
    if (auto error = read_header(body.substr(0, header_end), part)) return *error;
    body.remove_prefix(header_end + 2 * kLineEnd.size());
    const size_t end = body.find(delimiter);
    if (end == std::string_view::npos) return malformed("the last part has no end");
    part.content = body.substr(0, end);
    body.remove_prefix(end + delimiter.size());
    const bool again =
        std::any_of(parts.begin(), parts.end(), [&](const FormPart& other) { return other.name == part.name; });
    if (again) return malformed("two parts have one name");
    parts.push_back(std::move(part));
  }
  if (body != "--" && body != "--\r\n") return malformed("something follows the last boundary");
  if (parts.empty()) return malformed("there are no parts");
  return parts;
}

}  // namespace echelon
