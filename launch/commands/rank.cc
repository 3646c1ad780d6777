#include "launch/commands/rank.h"

#include <fmt/format.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <span>
#include <thread>

#include "engine/host_memory.h"
#include "engine/model/open_model.h"
#include "engine/planner/capacity.h"
#include "engine/rank_runner.h"
#include "kernels/base/check.h"
#include "kernels/base/log.h"
#include "launch/engine_settings.h"
#include "launch/job_end.h"
#include "parallel/end_job.h"
#include "parallel/launcher.h"

namespace echelon {
namespace {

/// So long rank 0 may take to end the job after another rank has told it of a fault.
constexpr std::chrono::milliseconds kFaultTimeout{3'000};

/// How late a step of the clock may be seen.
constexpr std::chrono::seconds kLongestSleep{10};

std::chrono::milliseconds unix_time() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch());
}

/// SIGTERM, SIGINT and SIGUSR1 drain, and so does the time that is given; a second one of the first two ends the job at
/// once. SIGHUP reads files again; where there are none it means that the terminal has gone, and drains (but under
/// nohup). Only rank 0 acts on signals.
class DrainOnSignal {
 public:
  /// Blocks the signals for this thread and those it starts from now on.
  static void block() {
    sigset_t set = signals();
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
  }

  DrainOnSignal(Head& head, ServingEngine& engine, std::optional<int64_t> drain_at_unix_s)
      : drain_at_(drain_at_unix_s), thread_([this, &head, &engine] { wait(head, engine); }) {}
  ~DrainOnSignal() {
    ended_ = true;
    pthread_kill(thread_.native_handle(), SIGUSR1);
    thread_.join();
  }

 private:
  static sigset_t signals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : {SIGTERM, SIGINT, SIGUSR1, SIGHUP}) sigaddset(&set, signal);
    return set;
  }

  static bool hangup_is_ignored() {
    struct sigaction action {};
    sigaction(SIGHUP, nullptr, &action);
    return action.sa_handler == SIG_IGN;
  }

  /// 0: it is time to drain.
  int next_signal(const sigset_t& set) const {
    for (;;) {
      std::chrono::milliseconds left = kLongestSleep;
      if (drain_at_) left = std::min(left, std::chrono::seconds(*drain_at_) - unix_time());
      if (left.count() <= 0) return 0;
      const timespec sleep{.tv_sec = left.count() / 1000, .tv_nsec = left.count() % 1000 * 1'000'000};
      if (const int signal = sigtimedwait(&set, nullptr, &sleep); signal > 0) return signal;
    }
  }

  void wait(Head& head, ServingEngine& engine) {
    const sigset_t set = signals();
    for (bool draining = false;;) {
      const int signal = next_signal(set);
      if (ended_) return;
      if (signal == SIGHUP && (head.reloads() || hangup_is_ignored())) {
        log::info("signal {}: reading files again", signal);
        head.reload();
        continue;
      }
      if (draining && (signal == SIGTERM || signal == SIGINT)) end_job("a second signal came while draining");
      if (draining) continue;
      draining = true;
      drain_at_.reset();
      log::info("{}: draining, new requests are refused",
                signal == 0 ? "the job's time ends soon" : fmt::format("signal {}", signal));
      head.drain();
      engine.drain();
    }
  }

  std::atomic<bool> ended_{false};
  std::optional<int64_t> drain_at_;  ///< the thread's own
  std::thread thread_;
};

/// By the variables of Slurm, whose message is said.
std::optional<int64_t> time_to_drain(const ServeOptions& options) {
  const DrainPlan plan = plan_drain(std::getenv("SLURM_JOB_END_TIME"), options.drain_before_end_s,
                                    std::chrono::floor<std::chrono::seconds>(unix_time()).count());
  if (plan.wrong) log::warn("{}", plan.message);
  if (plan.at_unix_s) log::info("{}", plan.message);
  return plan.at_unix_s;
}

/// Hands messages to the parts of this rank they are for.
ControlChannel::Handlers handlers(RankRunner& runner, ServingEngine* engine, ControlChannel& control, Job& job) {
  ControlChannel::Handlers handlers;
  handlers.on_message = [&runner, engine, &control, &job](int rank, ControlMessage message) {
    switch (message.kind) {
      case MessageKind::assign:
      case MessageKind::start:
      case MessageKind::plan:
      case MessageKind::masks:
      case MessageKind::fence:
      case MessageKind::stop:
        runner.push(std::move(message));
        break;
      case MessageKind::status:
      case MessageKind::layers_done:
      case MessageKind::result:
      case MessageKind::broken:
        if (engine) engine->on_message(rank, std::move(message));
        break;
      case MessageKind::reap:
        if (message.number < static_cast<uint64_t>(job.size())) job.kill_process(static_cast<int>(message.number));
        break;
      case MessageKind::failure:
        if (engine) {
          engine->on_message(rank, std::move(message));
        } else {
          leave_ended_job(control, job.size(),
                          {reinterpret_cast<const char*>(message.payload.data()), message.payload.size()});
        }
        break;
      default:
        break;
    }
  };
  handlers.on_lost = [engine](int rank, const std::string& reason) {
    if (engine) {
      engine->on_lost(rank, reason);
    } else {
      end_job_after_rank_0(fmt::format("rank {} is lost: {}", rank, reason));
    }
  };
  handlers.on_dropped = [](const std::string& reason) { leave_job("rank 0 has given up this rank: " + reason); };
  return handlers;
}

/// Rank 0 ends the job with the message of the first rank that has one, or goes on without this rank, whose connection
/// then ends, and with it this process.
void report_fault(ControlChannel& control, int rank, const std::string& host, const std::string& cause) {
  const std::string text = fmt::format("rank {} on {}: {}", rank, host, cause);
  const auto bytes = std::as_bytes(std::span(text));
  control.send(0, {.kind = MessageKind::failure, .payload = {bytes.begin(), bytes.end()}});
  std::this_thread::sleep_for(kFaultTimeout);
  leave_job(cause);
}

/// The hosts of the ranks that have a place from the start: all but the spares.
std::vector<int> hosts_at_work(const Job& job, const ServeOptions& options) {
  if (options.spares >= job.size()) {
    throw Error(Part::parallel,
                fmt::format("--spares {} leaves none of {} ranks: start more", options.spares, job.size()));
  }
  return {job.host_of_rank().begin(), job.host_of_rank().end() - options.spares};
}

/// Those with a place; where there are only spares, all of them.
int ranks_on_host_of(const Job& job, const std::vector<int>& hosts_at_work, int rank) {
  const std::vector<int>& hosts = job.host_of_rank();
  const auto at_work = std::count(hosts_at_work.begin(), hosts_at_work.end(), hosts[rank]);
  return static_cast<int>(at_work > 0 ? at_work : std::count(hosts.begin(), hosts.end(), hosts[rank]));
}

/// The user's layout; without any part of it the planner's, which every rank computes from the same numbers. What is
/// wrong with a model is no matter here: loading says it.
LayoutSizes layout_of(Job& job, const std::vector<int>& hosts_at_work, const ServeOptions& options,
                      const EngineOptions& settings) {
  const LayoutSizes wanted{
      .dp = options.data_parallel_size, .tp = options.tensor_parallel_size, .pp = options.pipeline_parallel_size};
  if (hosts_at_work.size() == 1 || wanted.dp + wanted.tp + wanted.pp > 0) return choose_layout(wanted, hosts_at_work);
  std::optional<OpenModel> model;
  try {
    model = open_model(options.model);
  } catch (const Error&) {
  }
  const uint64_t rank_bytes =
      available_host_bytes() / static_cast<uint64_t>(ranks_on_host_of(job, hosts_at_work, job.rank()));
  RankHosts hosts{.host_of_rank = hosts_at_work,
                  .rank_bytes = job.exchange_numbers("choosing a layout", model ? rank_bytes : 0)};
  hosts.rank_bytes.resize(hosts_at_work.size());
  if (std::count(hosts.rank_bytes.begin(), hosts.rank_bytes.end(), 0u) > 0) return choose_layout(wanted, hosts_at_work);
  try {
    const ServedLayout layout = layout_to_serve(model->files, settings, hosts);
    if (job.rank() == 0 && !layout.reason.empty()) log::info("{}", layout.reason);
    return layout.sizes;
  } catch (const Error&) {
    return choose_layout(wanted, hosts_at_work);
  }
}

int run_rank(Job& job, const ServeOptions& options, const MakeHead& make_head) {
  const int rank = job.rank();
  if (rank == 0) tell_outcome("began");
  const std::vector<int> at_work = hosts_at_work(job, options);
  const int ranks_on_host = ranks_on_host_of(job, at_work, rank);
  const EngineOptions engine_settings = engine_options(options, ranks_on_host, job.num_cores_of_host());
  const Layout layout(layout_of(job, at_work, options, engine_settings), at_work);

  std::unique_ptr<ServingEngine> engine;
  std::unique_ptr<Head> head;
  const auto control = job.make_control();
  const auto end_all = [&](const std::string& cause) { end_job_everywhere(*control, job.size(), cause); };
  if (rank == 0) {
    engine = std::make_unique<ServingEngine>(
        engine_settings, layout, job.host_of_rank(), *control,
        ServingEngine::Callbacks{.on_ready = [&] { head->on_ready(); }, .on_failure = end_all});
    head = make_head(*engine, layout, job);
  }
  const WaitTimes times{.spin_us = layout.num_ranks() * engine_settings.num_threads > job.num_cores_of_host() ? 0 : -1};
  const auto make_group = [&](const std::vector<int>& members, GroupId id, std::stop_token given_up) {
    return job.make_communicator(members, id, times, std::move(given_up));
  };
  RankRunner runner(engine_settings, {.rank = rank, .num_ranks = job.size(), .host = job.host_name(rank)}, make_group,
                    *control);
  control->start(handlers(runner, engine.get(), *control, job));
  std::unique_ptr<DrainOnSignal> signals;
  if (rank == 0) {
    engine->start();
    signals = std::make_unique<DrainOnSignal>(*head, *engine, time_to_drain(options));
  }
  try {
    runner.run();
  } catch (const std::exception& error) {
    if (rank == 0) {
      end_all(error.what());
    } else {
      report_fault(*control, rank, job.host_name(rank), error.what());
    }
    for (;;) ::pause();  // the job is being ended
  }
  int code = 0;
  if (rank == 0) {
    engine->wait_until_stopped();
    code = head->stop();
    signals.reset();
  }
  control->close();
  job.finish(engine ? engine->lost_ranks() : std::vector<int>());
  if (rank == 0) tell_outcome(std::to_string(code));
  if (rank == 0) log::info("drained, all ranks have ended");
  return code;
}

}  // namespace

void tell_outcome(const std::string& outcome) {
  const char* file = std::getenv("ECHELON_OUTCOME_FILE");
  if (file == nullptr || ::access(file, W_OK) != 0) return;
  std::ofstream(file, std::ios::trunc) << outcome;
}

bool speaks_for_all() { return find_launcher().task == 0; }

void set_up_log(const Job& job, const ServeOptions& options) {
  std::string file;
  if (!options.log_dir.empty()) {
    const std::filesystem::path folder = options.log_dir;
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error) throw Error(Part::launch, fmt::format("--log-dir {}: {}", options.log_dir, error.message()));
    file = folder / fmt::format("rank{}-{}.log", job.rank(), job.host_name(job.rank()));
  }
  log::set_up(job.rank(), options.log_level, file);
  if (job.cores() != job.cores_given())
    log::info("the launcher bound this rank to core {} alone; it uses {} (mpirun --bind-to none, srun --cpu-bind=none)",
              to_string(job.cores_given()), to_string(job.cores()));
}

int run_job(const ServeOptions& options, const MakeHead& make_head) {
  DrainOnSignal::block();
  try {
    const auto job =
        start_job({.start_timeout_ms = options.startup_timeout_s * 1000, .interface = options.control_interface});
    set_up_log(*job, options);
    return run_rank(*job, options, make_head);
  } catch (const std::exception& error) {
    // Before the control channel stands, a fault is usually the same on every rank: rank 0 speaks.
    if (process_rank() > 0) std::this_thread::sleep_for(kFaultTimeout);
    end_job(error.what());
  }
}

}  // namespace echelon
