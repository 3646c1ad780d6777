// A variable is a stranger's text: an end that has passed, or that lies further away than any job, is refused.
#include "launch/job_end.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>

namespace echelon {
namespace {

constexpr int64_t kLongestJob_s = int64_t{10} * 366 * 86400;  // Slurm says a year for one without a limit

}  // namespace

DrainPlan plan_drain(const char* job_end, int64_t before_end_s, int64_t now_unix_s) {
  if (job_end == nullptr || before_end_s == 0) return {};
  const std::string_view text(job_end);
  int64_t end = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), end);
  if (error != std::errc() || rest != text.data() + text.size()) {
    return {.message = "SLURM_JOB_END_TIME is not a number of seconds and counts for nothing", .wrong = true};
  }
  if (end <= now_unix_s || end > now_unix_s + kLongestJob_s) {
    return {.message = fmt::format("SLURM_JOB_END_TIME {} is not a time to come and counts for nothing", end),
            .wrong = true};
  }
  const int64_t left = end - now_unix_s;
  const int64_t before = std::min(before_end_s, left / 2);
  return {.at_unix_s = end - before,
          .message = fmt::format("the job's time ends in {} s; draining begins {} s before", left, before)};
}

}  // namespace echelon
