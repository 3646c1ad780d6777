// Members that OpenAI has and that mean nothing here are null.
#include "frontend/batch/batch_bodies.h"

#include <fmt/format.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/url/parse_query.hpp>
#include <charconv>
#include <utility>

#include "frontend/batch/batch_line.h"
#include "frontend/batch/multipart.h"
#include "frontend/openai/json_reader.h"
#include "frontend/refusals.h"

namespace echelon {
namespace {

namespace json = boost::json;

constexpr size_t kUsualBatchesOfList = 20;
constexpr size_t kMaxMetadata = 16, kMaxMetadataName = 64, kMaxMetadataText = 512;
constexpr std::string_view kPurpose = "batch";
constexpr std::string_view kWindow = "24h";

json::value text_or_null(const std::string& text) { return text.empty() ? json::value() : json::value(text); }
json::value time_or_null(const std::optional<int64_t>& time) { return time ? json::value(*time) : json::value(); }

std::optional<RequestError> check_metadata(const json::value& value) {
  if (!value.is_object()) return bad_request("metadata", "metadata must be an object of strings");
  if (value.get_object().size() > kMaxMetadata)
    return bad_request("metadata", fmt::format("metadata has more than {} members", kMaxMetadata));
  for (const auto& member : value.get_object()) {
    if (member.key().size() > kMaxMetadataName || !member.value().is_string() ||
        member.value().get_string().size() > kMaxMetadataText)
      return bad_request("metadata", fmt::format("metadata has names of at most {} and strings of at most {} bytes",
                                                 kMaxMetadataName, kMaxMetadataText));
  }
  return std::nullopt;
}

/// Its names must be among `known`, each at most once.
RequestResult<ListQuery> parse_list_query(std::string_view query, std::span<const QueryParameter> known,
                                          size_t usual_limit, size_t max_limit) {
  ListQuery list{.after = {}, .purpose = {}, .limit = usual_limit};
  if (query.empty()) return list;
  const auto parsed = boost::urls::parse_query(query);
  if (!parsed) return bad_request("", "the query is malformed");
  std::vector<std::string> seen;
  for (const auto& parameter : boost::urls::params_view(*parsed)) {
    const std::string name = parameter.key, value = parameter.value;
    const auto is_it = [&](const QueryParameter& one) { return one.name == name; };
    if (std::none_of(known.begin(), known.end(), is_it))
      return bad_request(shortened(name), "this is not a parameter that is supported here", "unknown_parameter");
    if (std::find(seen.begin(), seen.end(), name) != seen.end())
      return bad_request(name, fmt::format("{} is there more than once", name));
    seen.push_back(name);
    if (name == "after") {
      list.after = value;
    } else if (name == "purpose") {
      list.purpose = value;
    } else if (name == "order") {
      if (value != "asc" && value != "desc") return bad_request("order", "order must be asc or desc");
      list.oldest_first = value == "asc";
    } else {
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), list.limit);
      if (error != std::errc() || end != value.data() + value.size() || list.limit < 1 || list.limit > max_limit)
        return bad_request("limit", fmt::format("limit must be an integer from 1 to {}", max_limit));
    }
  }
  return list;
}

}  // namespace

RequestResult<Upload> parse_upload(std::string_view content_type, std::string_view body) {
  const auto parts = parse_form(content_type, body);
  if (parts.has_error()) return parts.error();
  Upload upload;
  bool has_file = false, has_purpose = false;
  for (const FormPart& part : *parts) {
    if (part.name == "purpose") {
      has_purpose = true;
      if (part.content != kPurpose)
        return bad_request("purpose",
                           fmt::format("purpose must be {}: there is no other use for files here", kPurpose));
    } else if (part.name == "file") {
      has_file = true;
      if (!part.file_name) return bad_request("file", "file must be a file, with a filename");
      upload.file_name = replace_invalid_utf8(*part.file_name);
      upload.content = part.content;
    } else {
      return bad_request(shortened(part.name), "this is not a parameter that is supported here",
                         "unknown_parameter");
    }
  }
  if (!has_purpose) return bad_request("purpose", "purpose is missing", "missing_required_parameter");
  if (!has_file) return bad_request("file", "file is missing", "missing_required_parameter");
  return upload;
}

void read_batch_request(JsonReader& reader, Batch& batch) {
  constexpr std::string_view kWindows[] = {kWindow};
  const auto endpoints = batch_endpoint_paths();
  std::string window;
  for (const std::string_view member : {"input_file_id", "endpoint", "completion_window"}) reader.require(member);
  reader.read("input_file_id", batch.input_file);
  reader.read_word("endpoint", batch.endpoint, endpoints);
  reader.read_word("completion_window", window, kWindows);
  const json::value* metadata = reader.find_shaped("metadata", [] {
    return json::object{{"type", "object"},
                        {"maxProperties", kMaxMetadata},
                        {"propertyNames", json::object{{"maxLength", kMaxMetadataName}}},
                        {"additionalProperties", json::object{{"type", "string"}, {"maxLength", kMaxMetadataText}}}};
  });
  reader.refuse_others({});
  if (metadata == nullptr) return;
  if (const auto error = check_metadata(*metadata)) return reader.fail(*error);
  batch.metadata = json::serialize(*metadata);
}

RequestResult<Batch> parse_batch_request(std::string_view body) {
  const auto object = parse_json_object(body);
  if (object.has_error()) return object.error();
  JsonReader reader(*object);
  Batch batch;
  read_batch_request(reader, batch);
  if (reader.error()) return *reader.error();
  return batch;
}

RequestResult<ListQuery> parse_files_query(std::string_view query) {
  return parse_list_query(query, kFilesQuery, kMaxFilesOfList, kMaxFilesOfList);
}

RequestResult<ListQuery> parse_batches_query(std::string_view query) {
  return parse_list_query(query, kBatchesQuery, kUsualBatchesOfList, kMaxBatchesOfList);
}

json::object file_body(const StoredFile& file) {
  return {{"id", file.id},
          {"object", "file"},
          {"bytes", file.bytes},
          {"created_at", file.created_unix_s},
          {"expires_at", nullptr},
          {"filename", file.name},
          {"purpose", file.purpose},
          {"status", "processed"},
          {"status_details", nullptr}};
}

json::object deleted_file_body(const StoredFile& file) {
  return {{"id", file.id}, {"object", "file"}, {"deleted", true}};
}

json::object batch_body(const Batch& batch) {
  json::object body;
  body["id"] = batch.id;
  body["object"] = "batch";
  body["endpoint"] = batch.endpoint;
  body["errors"] = json::parse(batch.errors);
  body["input_file_id"] = batch.input_file;
  body["completion_window"] = kWindow;
  body["status"] = status_name(batch.status);
  body["output_file_id"] = text_or_null(batch.output_file);
  body["error_file_id"] = text_or_null(batch.error_file);
  body["created_at"] = time_or_null(batch.at(BatchStatus::validating));
  body["expires_at"] = batch.expires_unix_s;
  for (const auto status : {BatchStatus::in_progress, BatchStatus::finalizing, BatchStatus::completed,
                            BatchStatus::failed, BatchStatus::expired, BatchStatus::cancelling, BatchStatus::cancelled})
    body[std::string(status_name(status)) + "_at"] = time_or_null(batch.at(status));
  body["request_counts"] =
      json::object{{"total", batch.total}, {"completed", batch.completed}, {"failed", batch.failed}};
  body["metadata"] = json::parse(batch.metadata);
  return body;
}

json::object page_body(json::array data, bool has_more) {
  json::object body{{"object", "list"}, {"first_id", nullptr}, {"last_id", nullptr}, {"has_more", has_more}};
  if (!data.empty()) {
    body["first_id"] = data.front().at("id");
    body["last_id"] = data.back().at("id");
  }
  body["data"] = std::move(data);
  return body;
}

}  // namespace echelon
