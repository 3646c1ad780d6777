#include "launch/sweep_rows.h"

#include <fmt/ranges.h>

#include <algorithm>

namespace echelon {
namespace {

constexpr int kMaxConcurrency = 1 << 20;
constexpr double kMaxRequestRate = 1e6;
constexpr size_t kMaxSweep = 64;

}  // namespace

OptionRow concurrencies_row(std::vector<int>& target) {
  OptionRow row = base_row({.name = "sweep-concurrency",
                            .value_name = "N,N,..",
                            .help = "clients, each with one request at a time: a row of the table for each"},
                           OptionShape::list);
  row.set = [&target](std::span<const std::string> values) {
    target = parse_integer_list(values, {1, kMaxConcurrency}, kMaxSweep);
  };
  row.get = [&target] { return fmt::format("[{}]", fmt::join(target, ", ")); };
  return row;
}

OptionRow rates_row(std::vector<double>& target) {
  OptionRow row = base_row({.name = "sweep-rate",
                            .value_name = "R,R,..",
                            .help = "requests a second, at random: a row of the table for each"},
                           OptionShape::list);
  row.set = [&target](std::span<const std::string> values) {
    std::vector<double> rates;
    for (const std::string& value : values) {
      for (size_t from = 0; from <= value.size();) {
        const size_t comma = std::min(value.find(',', from), value.size());
        rates.push_back(parse_decimal(value.substr(from, comma - from), kMaxRequestRate));
        if (rates.back() <= 0) throw BadValue("holds a rate of 0");
        from = comma + 1;
      }
    }
    if (rates.size() > kMaxSweep) throw BadValue(fmt::format("more than {} rates", kMaxSweep));
    target = std::move(rates);
  };
  row.get = [&target] { return fmt::format("[{}]", fmt::join(target, ", ")); };
  return row;
}

}  // namespace echelon
