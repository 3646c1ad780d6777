// The command line of `echelon plan`: every option of serve, and what describes the ranks, their devices and the load.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launch/options.h"

namespace echelon {

struct PlanOptions {
  ServeOptions serve;
  int ranks = 0;           ///< 0: as many as -tp, -pp and -dp multiply to
  int ranks_per_host = 0;  ///< 0: the device's usual; cpu: all on one host
  std::string device = "cpu";
  int64_t memory = 0;  ///< bytes of a rank; 0: the device's, or this host's free memory divided among its ranks
  int64_t memory_bandwidth = 0;    ///< bytes per second of a rank; 0: the device's
  int64_t flops = 0;               ///< operations per second of a rank; 0: the device's
  int64_t network_bandwidth = 0;   ///< bytes per second between hosts; 0: the device's
  int prompt = 512, output = 128;  ///< tokens
  int concurrency = 0;             ///< sequences at a time; 0: --max-num-seqs
  double cost_per_gpu_hour = 0;    ///< of a rank, in any currency; 0: not said
  bool json = false;
};

struct PlanInvocation : Invocation {
  PlanOptions options;
};

struct SimulateOptions {
  PlanOptions plan;
  int requests = 256;
  int seed = 0;                    ///< of random arrivals
  std::vector<double> rates;       ///< requests a second, a row for each; empty: clients
  std::vector<int> concurrencies;  ///< clients, a row for each; empty: the one of plan
  std::string svg;                 ///< file for a plot; empty: none
};

struct SimulateInvocation : Invocation {
  SimulateOptions options;
};

/// As parse_command().
SimulateInvocation parse_simulate(const std::vector<std::string>& arguments, const Environment& environment);

std::string simulate_help();

Command plan_command(PlanOptions& options);
Command simulate_command(SimulateOptions& options);

/// As parse_command().
PlanInvocation parse_plan(const std::vector<std::string>& arguments, const Environment& environment);

std::string plan_help();

/// The flags of serve that give it what the invocation says, apart from MODEL, layout and api keys: for a shell.
std::vector<std::string> serve_flags(const PlanInvocation& invocation);

}  // namespace echelon
