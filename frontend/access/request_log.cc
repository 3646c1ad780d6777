// The queue is one string: what waits is written at once, however many lines it is.
#include "frontend/access/request_log.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <utility>

#include "engine/text/utf8.h"
#include "kernels/base/error.h"
#include "kernels/base/log.h"

namespace echelon {
namespace {

namespace json = boost::json;

constexpr size_t kMaxWaitingBytes = 16 << 20;
constexpr int kClientLeft = 499;  ///< no status of HTTP: as other servers log a client that did not wait

std::string time_text(std::chrono::system_clock::time_point time) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
  const auto seconds = static_cast<std::time_t>(ms / 1000);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", utc, ms % 1000);
}

json::value text_or_null(const std::string& text) { return text.empty() ? json::value() : json::value(text); }

json::value ms_or_null(double ms) { return ms < 0 ? json::value() : json::value(std::round(ms * 1000) / 1000); }

}  // namespace

std::string request_log_line(const RequestRecord& record) {
  json::object line{{"time", time_text(record.time)},
                    {"id", record.id},
                    {"key", text_or_null(record.key)},
                    {"client", record.client},
                    {"method", record.method},
                    {"path", record.path},
                    {"model", text_or_null(record.model)},
                    {"stream", record.stream},
                    {"prompt_tokens", record.prompt_tokens},
                    {"cached_tokens", record.cached_tokens},
                    {"completion_tokens", record.completion_tokens},
                    {"queue_ms", ms_or_null(record.queue_ms)},
                    {"ttft_ms", ms_or_null(record.ttft_ms)},
                    {"total_ms", ms_or_null(record.total_ms)},
                    {"status", record.status == 0 ? kClientLeft : record.status},
                    {"finish_reason", text_or_null(record.finish_reason)}};
  if (record.request_text) line["request"] = replace_invalid_utf8(*record.request_text);
  if (record.response_text) line["response"] = replace_invalid_utf8(*record.response_text);
  return json::serialize(line);
}

struct RequestLog::File {
  explicit File(int descriptor) : number(descriptor) {}
  ~File() { ::close(number); }
  const int number;
};

std::shared_ptr<RequestLog::File> RequestLog::open(const std::string& name) {
  const int number = ::open(name.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (number < 0)
    throw Error(Part::frontend, fmt::format("cannot open --request-log {}: {}", name, std::strerror(errno)));
  return std::make_shared<File>(number);
}

RequestLog::RequestLog(std::string file) : name_(std::move(file)), file_(open(name_)), thread_([this] { run(); }) {}

RequestLog::~RequestLog() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void RequestLog::write(std::string_view line) {
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() + line.size() > kMaxWaitingBytes) {
      ++num_dropped_;
      return;
    }
    waiting_ += line;
    waiting_ += '\n';
  }
  changed_.notify_one();
}

void RequestLog::reopen() {
  auto file = open(name_);
  const std::lock_guard lock(mutex_);
  file_ = std::move(file);
}

void RequestLog::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return ending_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    std::string text = std::exchange(waiting_, {});
    if (mid_line_) text.insert(text.begin(), '\n');
    const uint64_t num_dropped = std::exchange(num_dropped_, 0);
    const auto file = file_;
    lock.unlock();
    if (num_dropped > 0) log::warn("--request-log {}: too slow, {} lines are missing", name_, num_dropped);
    append(*file, text);
    lock.lock();
  }
}

/// What cannot be written is lost: waiting for a full disk would only lose later lines instead.
void RequestLog::append(const File& file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(file.number, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      if (!std::exchange(failing_, true))
        log::error("--request-log {}: {}; lines are lost until it can be written", name_, std::strerror(errno));
      return;
    }
    mid_line_ = text[static_cast<size_t>(count) - 1] != '\n';
    text.remove_prefix(static_cast<size_t>(count));
  }
  if (std::exchange(failing_, false)) log::info("--request-log {}: can be written again", name_);
}

}  // namespace echelon
