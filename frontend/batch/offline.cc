// An answer is one write of one line. A line without its end is what a killed process left, and is cut off.
#include "frontend/batch/offline.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "frontend/openai/json_reader.h"
#include "kernels/base/error.h"

namespace echelon {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what) {
  throw Error(Part::frontend, fmt::format("{}: {}", path.string(), what));
}

/// What a killed process may have left of a line.
bool may_be_cut(std::string_view text) {
  constexpr std::string_view kBegin = R"({"id":"batch_req_)";
  return text.substr(0, kBegin.size()) == kBegin.substr(0, text.size());
}

std::string first_fault(const json::array& faults) {
  const json::object& fault = faults.front().as_object();
  const std::string line = fault.at("line").is_null() ? "" : fmt::format("line {}: ", fault.at("line").as_int64());
  const std::string more =
      faults.size() == 1 ? "" : fmt::format(" (and {} lines more are at fault)", faults.size() - 1);
  return line + std::string(fault.at("message").as_string()) + more;
}

}  // namespace

OfflineBatch::OfflineBatch(const std::filesystem::path& input, const std::filesystem::path& output)
    : output_path_(output), reader_(input) {
  BatchCheck check(nullptr, std::numeric_limits<int64_t>::max());
  LineReader lines(input);
  while (const auto line = lines.next()) {
    if (!check.add(*line)) break;
  }
  check.end();
  if (!check.faults().empty()) fail(input, first_fault(check.faults()));
  progress_.total = check.num_requests();
  output_ = ::open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (output_ < 0) fail(output, std::strerror(errno));
  try {
    if (::flock(output_, LOCK_EX | LOCK_NB) != 0) fail(output, "another process writes to it");
    read_output(check);
  } catch (...) {
    ::close(output_);
    throw;
  }
}

OfflineBatch::~OfflineBatch() {
  stop();
  ::close(output_);
}

/// Every whole line must be an answer to a request of the input: nothing of anybody else is written into.
void OfflineBatch::read_output(const BatchCheck& check) {
  LineReader lines(output_path_);
  int64_t end = 0;
  while (const auto line = lines.next()) {
    if (!line->complete && may_be_cut(line->text)) break;
    end = lines.offset();
    const auto refuse = [&](const char* what) { fail(output_path_, fmt::format("line {}: {}", line->number, what)); };
    const auto object = parse_json_object(line->text);
    const json::value* id = object.has_value() ? object->if_contains("custom_id") : nullptr;
    const json::value* response = object.has_value() ? object->if_contains("response") : nullptr;
    if (id == nullptr || !id->is_string() || response == nullptr || !response->is_object())
      refuse("this is not an answer of a batch; name another output file");
    const std::string custom_id(id->as_string());
    if (!check.has(custom_id)) refuse("the input has no such custom_id; name another output file");
    if (!answered_before_.insert(custom_id).second) refuse("its custom_id was there before");
    const json::value* status = response->get_object().if_contains("status_code");
    ++progress_.done;
    if (status == nullptr || *status != 200) ++progress_.failed;
  }
  if (::ftruncate(output_, end) != 0) fail(output_path_, std::strerror(errno));
}

std::optional<BatchLine> OfflineBatch::next_line() {
  while (const auto line = reader_.next()) {
    auto parsed = parse_batch_line(line->text, nullptr);
    if (parsed.has_error()) fail(reader_.path(), fmt::format("line {} has changed", line->number));
    if (answered_before_.contains(parsed->custom_id)) continue;
    parsed->number = line->number;
    return std::move(*parsed);
  }
  return std::nullopt;
}

void OfflineBatch::append(LineAnswer answer) {
  std::string_view bytes = answer.text += '\n';
  while (!bytes.empty()) {
    const ssize_t count = ::write(output_, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) fail(output_path_, std::strerror(errno));
    bytes.remove_prefix(static_cast<size_t>(count));
  }
  ++progress_.done;
  ++progress_.answered_now;
  if (answer.failed) ++progress_.failed;
  progress_.prompt_tokens += answer.prompt_tokens;
  progress_.completion_tokens += answer.completion_tokens;
}

OfflineProgress OfflineBatch::progress() const {
  OfflineProgress now = progress_;
  if (executor_ != nullptr)
    now.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  return now;
}

void OfflineBatch::start(Engine& engine, const ServerOptions& options, int max_choices,
                         std::chrono::milliseconds period, std::function<void(const OfflineProgress&)> report,
                         std::function<void(std::exception_ptr)> ended) {
  const std::lock_guard lock(mutex_);
  if (stopped_) return;
  begin_ = std::chrono::steady_clock::now();
  executor_ = std::make_unique<BatchExecutor>(thread_.get_executor(), engine, options, nullptr, max_choices);
  work_ = {.name = "batch",
           .tenant = "",
           .next = [this] { return next_line(); },
           .answered = [this](LineAnswer answer) { append(std::move(answer)); }};
  asio::co_spawn(thread_, run(std::move(ended)), asio::detached);
  asio::co_spawn(thread_, report_every(period, std::move(report)), asio::detached);
}

asio::awaitable<void> OfflineBatch::run(std::function<void(std::exception_ptr)> ended) {
  std::exception_ptr fault;
  BatchExecutor::End end = BatchExecutor::End::stopped;
  try {
    end = co_await executor_->run(work_, std::chrono::system_clock::time_point::max());
    if (::fdatasync(output_) != 0 && errno != EINVAL) fail(output_path_, std::strerror(errno));  // EINVAL: a pipe
  } catch (...) {
    fault = std::current_exception();
  }
  ended_ = true;
  report_timer_.cancel();
  if (fault != nullptr || end == BatchExecutor::End::done) ended(fault);
}

asio::awaitable<void> OfflineBatch::report_every(std::chrono::milliseconds period,
                                                 std::function<void(const OfflineProgress&)> report) {
  while (!ended_) {
    report_timer_.expires_after(period);
    const auto [cancelled] = co_await report_timer_.async_wait(asio::as_tuple(asio::use_awaitable));
    if (!cancelled) report(progress());
  }
}

void OfflineBatch::stop() {
  const std::lock_guard lock(mutex_);
  if (std::exchange(stopped_, true)) return;
  asio::post(thread_, [this] {
    if (executor_ != nullptr) executor_->stop_all();
  });
  thread_.join();
}

}  // namespace echelon
