// The lines of a batch: one request each on the way in, one answer each on the way out. And what makes a file of them
// one that can be run.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>

#include "engine/request_error.h"
#include "frontend/model_endpoint.h"

namespace echelon {

inline constexpr int64_t kMaxBatchRequests = 50'000;  ///< of one file, as OpenAI has it
inline constexpr size_t kMaxBatchLineBytes = 32 << 20;
inline constexpr size_t kMaxCustomIdBytes = 512;
inline constexpr size_t kMaxBatchFaults = 100;  ///< that are told; the rest of the file is not looked at

struct BatchLine {
  int64_t number = 0;  ///< in its file, from 1
  std::string custom_id;
  const ModelEndpoint* endpoint = nullptr;
  std::string body;  ///< JSON
};

/// The endpoint whose requests may be lines of a batch, or null.
const ModelEndpoint* batch_endpoint(std::string_view path);
/// Of all of them.
std::vector<std::string_view> batch_endpoint_paths();

/// {"custom_id", "method": "POST", "url", "body"}; with `endpoint`, the url has to be its.
RequestResult<BatchLine> parse_batch_line(std::string_view text, const ModelEndpoint* endpoint);

/// {"id", "custom_id", "response": {"status_code", "request_id", "body"}, "error": null}, without the line's end.
std::string answered_line(std::string_view custom_id, std::string_view request_id, int status,
                          boost::json::object body);
/// {"id", "custom_id", "response": null, "error": {"code", "message"}}
std::string unanswered_line(std::string_view custom_id, std::string_view code, std::string_view message);

/// Reads a file line by line; empty lines are left out, but counted.
class LineReader {
 public:
  struct Line {
    int64_t number = 0;
    std::string text;
    bool complete = true;   ///< false: the file ends without the line's end
    bool too_long = false;  ///< more than kMaxBatchLineBytes: text is empty
  };
  /// Throws Error(Part::frontend) when it cannot be opened or, in next(), read.
  explicit LineReader(std::filesystem::path file);
  std::optional<Line> next();
  const std::filesystem::path& path() const { return path_; }
  int64_t offset() const { return offset_; }  ///< bytes that were read

 private:
  std::filesystem::path path_;
  std::ifstream stream_;
  int64_t number_ = 0, offset_ = 0;
};

/// Whether the lines of a file can be run together. Holds every custom_id until it ends.
class BatchCheck {
 public:
  /// endpoint: of all lines; null: each has its own.
  explicit BatchCheck(const ModelEndpoint* endpoint, int64_t max_requests = kMaxBatchRequests)
      : endpoint_(endpoint), max_requests_(max_requests) {}
  /// False: enough faults have been found.
  bool add(const LineReader::Line& line);
  void end();  ///< there are no more lines
  int64_t num_requests() const { return num_requests_; }
  bool has(const std::string& custom_id) const { return ids_.contains(custom_id); }
  /// [{"code", "message", "param", "line"}]; empty: the file can be run.
  const boost::json::array& faults() const { return faults_; }

 private:
  void fault(std::optional<int64_t> line, const RequestError& error);
  const ModelEndpoint* const endpoint_;
  const int64_t max_requests_;
  std::unordered_set<std::string> ids_;
  int64_t num_requests_ = 0;
  boost::json::array faults_;
};

}  // namespace echelon
