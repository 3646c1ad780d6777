// Formatting of one sample per line.
// Values are written with as many digits as a double needs, so that counters stay exact.
#include "frontend/metrics/prometheus.h"

#include <fmt/format.h>

#include <cmath>
#include <functional>

namespace echelon {
namespace {

std::string escaped(std::string_view value) {
  std::string out;
  for (const char c : value) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  constexpr double kExact = 9007199254740992.0;  // 2^53
  if (value == std::floor(value) && std::abs(value) <= kExact) return fmt::format("{:.0f}", value);
  return fmt::format("{}", value);
}

std::string_view type_name(PrometheusText::Type type) {
  switch (type) {
    case PrometheusText::Type::counter:
      return "counter";
    case PrometheusText::Type::gauge:
      return "gauge";
    case PrometheusText::Type::histogram:
      return "histogram";
  }
  return "untyped";
}

}  // namespace

void PrometheusText::family(std::string_view name, Type type, std::string_view help) {
  family_ = name;
  text_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type_name(type));
}

void PrometheusText::line(std::string_view name, double value, const Labels& labels) {
  text_ += name;
  char separator = '{';
  for (const Labels& group : {std::cref(common_), std::cref(labels)}) {
    for (const auto& [label, content] : group) {
      text_ += fmt::format("{}{}=\"{}\"", separator, label, escaped(content));
      separator = ',';
    }
  }
  if (separator == ',') text_ += '}';
  text_ += ' ' + number(value) + '\n';
}

void PrometheusText::sample(double value, const Labels& labels) { line(family_, value, labels); }

void PrometheusText::counter(std::string_view name, double value, std::string_view help) {
  family(name, Type::counter, help);
  sample(value);
}

void PrometheusText::gauge(std::string_view name, double value, std::string_view help) {
  family(name, Type::gauge, help);
  sample(value);
}

void PrometheusText::histogram(std::string_view name, const Histogram& data, std::string_view help) {
  family(name, Type::histogram, help);
  const std::string bucket = family_ + "_bucket";
  uint64_t cumulative = 0;
  for (size_t i = 0; i < data.bounds.size(); ++i) {
    if (i < data.counts.size()) cumulative += data.counts[i];
    line(bucket, static_cast<double>(cumulative), {{"le", fmt::format("{}", data.bounds[i])}});
  }
  line(bucket, static_cast<double>(data.count), {{"le", "+Inf"}});
  line(family_ + "_sum", data.sum, {});
  line(family_ + "_count", static_cast<double>(data.count), {});
}

}  // namespace echelon
