// What a device reaches at best: the ceilings that the cost model (cost_model.h) divides by. Datasheet figures of GPUs;
// figures of this host's processors are measured (host_ceiling.h).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace echelon {

/// One direction between two ranks.
struct LinkRate {
  double bytes_per_s = 0;
  double latency_s = 0;  ///< of one small exchange
};

/// Operations per second of products, by the rows that a micro-batch has: few rows do not fill the units.
class RowRate {
 public:
  static constexpr std::array<int, 5> kRows{1, 4, 16, 64, 256};
  RowRate() = default;
  RowRate(double same) { rates_.fill(same); }  // implicit: most devices have one figure
  explicit RowRate(const std::array<double, kRows.size()>& rates) : rates_(rates) {}
  /// Between two of kRows the time goes straight from one to the other; above, the rate stays. 0: none given.
  double at(double rows) const;
  double most() const { return rates_.back(); }

 private:
  std::array<double, kRows.size()> rates_{};
};

/// Speed of memory and arithmetic. A multiply-add is two operations.
struct Ceiling {
  double bytes_per_s = 0;
  std::array<RowRate, 3> products{};  ///< with weights, by Compute
  double attention = 0;         ///< operations per second of queries with keys, and of weights with values: in prompts
  double decode_attention = 0;  ///< the same of single rows
  /// Rows a second through one layer's rope and into its cache; 0: not counted.
  double prompt_rows_per_s = 0, decode_rows_per_s = 0;
  const RowRate& product_rate(Compute compute) const { return products[static_cast<size_t>(compute)]; }
};

struct Device {
  std::string name;           ///< of --device
  std::string description;    ///< "NVIDIA H100 SXM5 80 GB"
  std::string source;         ///< where the figures come from: a datasheet's name, or that they were measured
  uint64_t memory_bytes = 0;  ///< of a rank
  double kv_share = 0;        ///< of the memory that weights and activations leave, what the KV cache may take
  Ceiling rank;               ///< one rank that has the host to itself
  Ceiling host;               ///< all ranks of a host together; 0: no such limit
  LinkRate within_host, between_hosts;
  double layer_latency_s = 0;  ///< of a layer, whatever the rows: starting its kernels one after the other
  double batch_latency_s = 0;  ///< of a micro-batch on a stage: plan, sampling, result
  int ranks_per_host = 1;      ///< usual
};

/// GPUs, by name. Immutable.
const std::vector<Device>& device_table();

/// Null for a name that the table does not have.
const Device* find_device(const std::string& name);

}  // namespace echelon
