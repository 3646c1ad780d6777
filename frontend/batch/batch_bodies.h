// OpenAI's shapes of files and batches: requests in, bodies out. Pure.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <string>
#include <string_view>

#include "engine/request_error.h"
#include "frontend/batch/store.h"
#include "frontend/openai/json_reader.h"

namespace echelon {

/// The form of POST /v1/files: purpose=batch and the file.
struct Upload {
  std::string file_name;
  std::string_view content;  ///< of the body
};
RequestResult<Upload> parse_upload(std::string_view content_type, std::string_view body);

/// Endpoint, input file and metadata of POST /v1/batches.
void read_batch_request(JsonReader& reader, Batch& batch);
RequestResult<Batch> parse_batch_request(std::string_view body);

inline constexpr size_t kMaxFilesOfList = 10'000, kMaxBatchesOfList = 100;
inline constexpr QueryParameter kFilesQuery[] = {
    {"after", R"({"type": "string"})"},
    {"limit", R"({"type": "integer", "minimum": 1, "maximum": 10000})"},
    {"order", R"({"enum": ["asc", "desc"]})"},
    {"purpose", R"({"type": "string"})"},
};
inline constexpr QueryParameter kBatchesQuery[] = {
    {"after", R"({"type": "string"})"},
    {"limit", R"({"type": "integer", "minimum": 1, "maximum": 100})"},
};

/// The query of a list.
struct ListQuery {
  std::string after;    ///< an id; empty: from the beginning
  std::string purpose;  ///< empty: any
  size_t limit = 0;
  bool oldest_first = false;
};
RequestResult<ListQuery> parse_files_query(std::string_view query);
RequestResult<ListQuery> parse_batches_query(std::string_view query);

boost::json::object file_body(const StoredFile& file);
boost::json::object deleted_file_body(const StoredFile& file);
boost::json::object batch_body(const Batch& batch);
/// {"object": "list", "data", "first_id", "last_id", "has_more"}
boost::json::object page_body(boost::json::array data, bool has_more);

}  // namespace echelon
