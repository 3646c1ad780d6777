// Writes the Prometheus text format, version 0.0.4: families with HELP and TYPE, samples with escaped labels,
// histograms.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/engine_metrics.h"

namespace echelon {

class PrometheusText {
 public:
  using Labels = std::vector<std::pair<std::string_view, std::string>>;
  enum class Type { counter, gauge, histogram };

  /// `common` labels are on every sample.
  explicit PrometheusText(Labels common = {}) : common_(std::move(common)) {}

  /// Begins a family. Its samples follow before the next family begins.
  void family(std::string_view name, Type type, std::string_view help);
  void sample(double value, const Labels& labels = {});
  /// One family with one sample.
  void counter(std::string_view name, double value, std::string_view help);
  void gauge(std::string_view name, double value, std::string_view help);
  /// A whole histogram: cumulative buckets, sum and count.
  void histogram(std::string_view name, const Histogram& data, std::string_view help);

  const std::string& text() const { return text_; }

 private:
  void line(std::string_view name, double value, const Labels& labels);

  Labels common_;
  std::string family_;
  std::string text_;
};

}  // namespace echelon
