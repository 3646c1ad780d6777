// One rank of a job from start to end, for every command that runs a model: rank 0 has a head, which gives the engine
// its requests.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/serving_engine.h"
#include "kernels/base/error.h"
#include "kernels/base/log.h"
#include "launch/options.h"
#include "parallel/job.h"

namespace echelon {

inline constexpr int kUsageExitCode = 2;

/// What rank 0 does beside the engine. Does not outlive it.
class Head {
 public:
  virtual ~Head() = default;
  /// The engine takes requests. On its thread: does not wait.
  virtual void on_ready() = 0;
  /// Is there anything that SIGHUP reads again? Where not, it drains.
  virtual bool reloads() const = 0;
  virtual void reload() = 0;
  /// No new requests; the engine is told afterwards. On the thread of signals.
  virtual void drain() = 0;
  /// The engine has stopped. Returns the exit code.
  virtual int stop() = 0;
};

/// Before the weights are read. What is thrown ends the job with its message. All outlive the head.
using MakeHead = std::function<std::unique_ptr<Head>(ServingEngine& engine, const Layout& layout, const Job& job)>;

/// Before MPI runs, the launcher's variables tell which rank this is, so that one rank speaks for all.
bool speaks_for_all();

/// Where this rank's lines go from now on, and a line when it was bound to one core. Throws Error(Part::launch).
void set_up_log(const Job& job, const ServeOptions& options);

/// For launch/run, where the launcher's exit code says nothing: "began", or rank 0's exit code. The file is there when
/// rank 0 is on its host.
void tell_outcome(const std::string& outcome);

inline const ServeOptions& served(const ServeOptions& options) { return options; }
template <typename Options>
const ServeOptions& served(const Options& options) {
  return options.serve;
}

/// A command that runs a model, from its command line on: mistakes, help and warnings are said once for all ranks.
/// `run(options)` does the rest. Returns the exit code.
template <typename Parse, typename Run>
int run_command(const std::string& name, const std::vector<std::string>& arguments, Parse parse, std::string (*help)(),
                Run run) {
  decltype(parse(arguments, Environment())) invocation;
  try {
    invocation = parse(arguments, process_environment());
    if (!invocation.help && !invocation.print_config) log::set_up(0, served(invocation.options).log_level);
  } catch (const Error& error) {
    if (speaks_for_all()) fmt::print(stderr, "echelon: {}\n", error.what());
    return kUsageExitCode;
  }
  if (invocation.help || invocation.print_config) {
    if (speaks_for_all()) fmt::print("{}", invocation.help ? help() : print_config(name, invocation));
    return 0;
  }
  if (speaks_for_all()) {
    for (const std::string& warning : invocation.warnings) log::warn("{}", warning);
  }
  return run(invocation.options);
}

/// Starts the job, runs this rank and returns the exit code; a fault of the job ends the process by end_job(). A head
/// is made on rank 0 alone.
int run_job(const ServeOptions& options, const MakeHead& make_head);

}  // namespace echelon
