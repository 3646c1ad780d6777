// Shapes are OpenAI's. A member that nobody reads is refused by name, as in every body.
#include "frontend/batch/batch_line.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <boost/json/serialize.hpp>
#include <utility>

#include "frontend/openai/ids.h"
#include "frontend/openai/json_reader.h"
#include "frontend/refusals.h"
#include "kernels/base/error.h"

namespace echelon {
namespace {

namespace json = boost::json;

constexpr const ModelEndpoint* kEndpoints[] = {&kChatEndpoint, &kCompletionsEndpoint, &kResponsesEndpoint,
                                               &kEmbeddingsEndpoint};

json::value text_or_null(const std::string& text) { return text.empty() ? json::value() : json::value(text); }

}  // namespace

const ModelEndpoint* batch_endpoint(std::string_view path) {
  for (const ModelEndpoint* endpoint : kEndpoints) {
    if (endpoint->path == path) return endpoint;
  }
  return nullptr;
}

std::vector<std::string_view> batch_endpoint_paths() {
  std::vector<std::string_view> paths;
  for (const ModelEndpoint* endpoint : kEndpoints) paths.push_back(endpoint->path);
  return paths;
}

RequestResult<BatchLine> parse_batch_line(std::string_view text, const ModelEndpoint* endpoint) {
  auto object = parse_json_object(text);
  if (object.has_error())
    return bad_request("", "the line is not one JSON object: " + object.error().message, "invalid_json_line");
  BatchLine line;
  JsonReader reader(*object);
  std::string method, url;
  reader.require("custom_id");
  reader.read("custom_id", line.custom_id);
  reader.require("method");
  reader.read("method", method);
  reader.require("url");
  reader.read("url", url);
  const json::value& body = reader.require("body");
  reader.refuse_others({});
  if (reader.error()) return *reader.error();
  if (line.custom_id.empty() || line.custom_id.size() > kMaxCustomIdBytes)
    return bad_request("custom_id", fmt::format("custom_id must have 1 to {} bytes", kMaxCustomIdBytes),
                       "invalid_custom_id");
  if (method != "POST") return bad_request("method", "method must be POST", "invalid_method");
  line.endpoint = batch_endpoint(url);
  if (line.endpoint == nullptr)
    return bad_request("url", fmt::format("url must be one of {}", fmt::join(batch_endpoint_paths(), ", ")),
                       "invalid_url");
  if (endpoint != nullptr && line.endpoint != endpoint)
    return bad_request("url", fmt::format("url must be the batch's endpoint, {}", endpoint->path), "mismatched_url");
  if (!body.is_object())
    return bad_request("body", fmt::format("body must be an object, not {}", kind_name(body)), "invalid_body");
  line.body = json::serialize(body);
  return line;
}

std::string answered_line(std::string_view custom_id, std::string_view request_id, int status, json::object body) {
  json::object line;
  line["id"] = random_id("batch_req_");
  line["custom_id"] = custom_id;
  line["response"] = json::object{{"status_code", status}, {"request_id", request_id}, {"body", std::move(body)}};
  line["error"] = nullptr;
  return json::serialize(line);
}

std::string unanswered_line(std::string_view custom_id, std::string_view code, std::string_view message) {
  json::object line;
  line["id"] = random_id("batch_req_");
  line["custom_id"] = custom_id;
  line["response"] = nullptr;
  line["error"] = json::object{{"code", code}, {"message", message}};
  return json::serialize(line);
}

LineReader::LineReader(std::filesystem::path file) : path_(std::move(file)), stream_(path_, std::ios::binary) {
  if (!stream_) throw Error(Part::frontend, fmt::format("cannot read {}", path_.string()));
}

std::optional<LineReader::Line> LineReader::next() {
  std::string text;
  bool too_long = false;
  std::streambuf& bytes = *stream_.rdbuf();
  for (;;) {  // ends with the file
    const int byte = bytes.sbumpc();
    const bool at_end = byte == std::char_traits<char>::eof();
    if (!at_end) ++offset_;
    if (!at_end && byte != '\n') {
      too_long = too_long || text.size() == kMaxBatchLineBytes;
      if (too_long) {
        text.clear();
      } else {
        text += static_cast<char>(byte);
      }
      continue;
    }
    if (at_end && text.empty() && !too_long) return std::nullopt;
    ++number_;
    if (too_long || text.find_first_not_of(" \t\r") != std::string::npos)
      return Line{.number = number_, .text = std::move(text), .complete = !at_end, .too_long = too_long};
    text.clear();
  }
}

void BatchCheck::fault(std::optional<int64_t> line, const RequestError& error) {
  json::object fault;
  fault["code"] = text_or_null(error.code);
  fault["message"] = error.message;
  fault["param"] = text_or_null(error.param);
  fault["line"] = line ? json::value(*line) : json::value();
  faults_.push_back(std::move(fault));
}

bool BatchCheck::add(const LineReader::Line& line) {
  if (++num_requests_ > max_requests_) {
    fault(line.number,
          bad_request("", fmt::format("the file has more than {} requests", max_requests_), "too_many_requests"));
    return false;
  }
  if (line.too_long) {
    fault(line.number,
          bad_request("", fmt::format("the line has more than {} bytes", kMaxBatchLineBytes), "line_too_long"));
  } else {
    auto parsed = parse_batch_line(line.text, endpoint_);
    if (parsed.has_error()) {
      fault(line.number, parsed.error());
    } else if (!ids_.insert(std::move(parsed->custom_id)).second) {
      fault(line.number, bad_request("custom_id", "another line before has the same custom_id", "duplicate_custom_id"));
    }
  }
  return faults_.size() < kMaxBatchFaults;
}

void BatchCheck::end() {
  if (num_requests_ == 0) fault(std::nullopt, bad_request("", "the file has no requests", "empty_file"));
}

}  // namespace echelon
