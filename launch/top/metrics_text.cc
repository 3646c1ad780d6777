#include "launch/top/metrics_text.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>
#include <optional>

#include "kernels/base/error.h"

namespace echelon {
namespace {

constexpr size_t kMaxSamples = 1'000'000, kMaxLabels = 64;

/// What is left of one line.
class LineReader {
 public:
  explicit LineReader(std::string_view line) : rest_(line) {}

  bool take(char c) {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void skip_blanks() { rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t"), rest_.size())); }
  std::string_view rest() const { return rest_; }

  /// Letters, digits, '_' and ':'; empty when there are none.
  std::string_view name() {
    size_t end = 0;
    while (end < rest_.size() && is_name(rest_[end])) ++end;
    return cut(end);
  }
  std::string_view word() { return cut(std::min(rest_.find_first_of(" \t"), rest_.size())); }

  /// Between quotes, with \\, \" and \n; nothing when it does not end.
  std::optional<std::string> quoted() {
    if (!take('"')) return std::nullopt;
    std::string out;
    while (!rest_.empty()) {
      const char c = rest_.front();
      rest_.remove_prefix(1);
      if (c == '"') return out;
      if (c != '\\') {
        out += c;
        continue;
      }
      if (rest_.empty()) break;
      out += rest_.front() == 'n' ? '\n' : rest_.front();
      rest_.remove_prefix(1);
    }
    return std::nullopt;
  }

 private:
  static bool is_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == ':';
  }
  std::string_view cut(size_t end) {
    const std::string_view out = rest_.substr(0, end);
    rest_.remove_prefix(end);
    return out;
  }
  std::string_view rest_;
};

std::optional<double> number(std::string_view text) {
  if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
  if (text == "+Inf" || text == "Inf") return std::numeric_limits<double>::infinity();
  if (text == "-Inf") return -std::numeric_limits<double>::infinity();
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool read_labels(LineReader& line, MetricSample& sample) {
  if (!line.take('{')) return true;
  for (line.skip_blanks(); !line.take('}'); line.skip_blanks()) {
    if (sample.labels.size() == kMaxLabels) return false;
    std::string name(line.name());
    line.skip_blanks();
    if (name.empty() || !line.take('=')) return false;
    line.skip_blanks();
    std::optional<std::string> value = line.quoted();
    if (!value) return false;
    sample.labels.emplace_back(std::move(name), std::move(*value));
    line.skip_blanks();
    if (!line.take(',') && !line.rest().starts_with('}')) return false;
  }
  return true;
}

std::optional<MetricSample> read_sample(std::string_view text) {
  LineReader line(text);
  MetricSample sample;
  sample.name = line.name();
  line.skip_blanks();
  if (sample.name.empty() || !read_labels(line, sample)) return std::nullopt;
  line.skip_blanks();
  const std::optional<double> value = number(line.word());
  if (!value) return std::nullopt;
  sample.value = *value;
  line.skip_blanks();
  const std::string_view time_stamp = line.word();
  line.skip_blanks();
  if ((!time_stamp.empty() && !number(time_stamp)) || !line.rest().empty()) return std::nullopt;
  return sample;
}

}  // namespace

std::string_view MetricSample::label(std::string_view wanted) const {
  for (const auto& each : labels) {
    if (each.first == wanted) return each.second;
  }
  return {};
}

std::vector<MetricSample> parse_metrics(std::string_view text) {
  std::vector<MetricSample> samples;
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    if (line.empty() || line.front() == '#') continue;
    std::optional<MetricSample> sample = read_sample(line);
    if (!sample) throw Error(Part::launch, fmt::format("line {} is no sample of the Prometheus text format", number));
    if (samples.size() == kMaxSamples) throw Error(Part::launch, "more than a million samples");
    samples.push_back(std::move(*sample));
  }
  return samples;
}

}  // namespace echelon
