// Run under mpirun by run_mpi_check: exchanges over windows, MPI and both mixed; the control channel; the ways a job
// can end. Exits 0 after "all is well", and through end_job() after anything else.
#include <mpi.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <thread>

#include "kernels/base/error.h"
#include "parallel/end_job.h"
#include "parallel/job.h"
#include "parallel/layout.h"

namespace echelon {
namespace {

using Bytes = std::vector<std::byte>;

void require(bool holds, const std::string& what) {
  if (!holds) throw Error(Part::parallel, "does not hold: " + what);
}

Bytes pattern(int from, int to, size_t num_bytes) {
  std::mt19937 random(from * 131 + to * 7 + static_cast<int>(num_bytes));
  Bytes bytes(num_bytes);
  for (std::byte& byte : bytes) byte = std::byte(random());
  return bytes;
}

void check_exchanges(Communicator& group, const std::string& name) {
  const int me = group.rank(), n = group.size();
  for (const size_t num_bytes : {0, 1, 2048, 65536, 300'001, 1'500'000}) {
    const std::string what = name + " with " + std::to_string(num_bytes) + " bytes";
    if (n > 1) {
      const int next = (me + 1) % n, before = (me + n - 1) % n;
      Bytes in(num_bytes);
      if (me == 0) group.receive(before, in);
      group.send(next, pattern(me, next, num_bytes));
      if (me != 0) group.receive(before, in);
      require(in == pattern(before, me, num_bytes), "send and receive, " + what);
    }
    std::vector<Bytes> out(n), mine;
    for (int r = 0; r < n; ++r) out[r].resize(num_bytes / (r + 1));
    group.all_gather(pattern(me, -1, out[me].size()), std::vector<std::span<std::byte>>(out.begin(), out.end()));
    for (int r = 0; r < n; ++r) require(out[r] == pattern(r, -1, out[r].size()), "all_gather, " + what);
    for (int r = 0; r < n; ++r) mine.push_back(pattern(me, r, num_bytes / (me + 1)));
    group.all_to_all(std::vector<std::span<const std::byte>>(mine.begin(), mine.end()),
                     std::vector<std::span<std::byte>>(out.begin(), out.end()));
    for (int r = 0; r < n; ++r) require(out[r] == pattern(r, me, out[r].size()), "all_to_all, " + what);
  }
}

/// Plans to all, one result from each: two hundred rounds.
void check_control(Job& job) {
  constexpr uint64_t kRounds = 200;
  std::mutex mutex;
  std::condition_variable changed;
  uint64_t num_messages = 0;
  std::string lost;
  const std::unique_ptr<ControlChannel> control = job.make_control();
  control->start(
      {.on_message =
           [&](int from, ControlMessage message) {
             if (message.kind == MessageKind::plan && job.rank() != 0) {
               control->send(
                   0, {.kind = MessageKind::result, .number = message.number, .payload = std::move(message.payload)});
             }
             const std::lock_guard lock(mutex);
             num_messages += message.kind == (job.rank() == 0 && from != 0 ? MessageKind::result : MessageKind::plan);
             changed.notify_all();
           },
       .on_lost =
           [&](int rank, const std::string& reason) {
             const std::lock_guard lock(mutex);
             lost = "rank " + std::to_string(rank) + " was lost: " + reason;
           },
       .on_dropped = [](const std::string& reason) { leave_job(reason); }});
  for (uint64_t k = 0; k < kRounds && job.rank() == 0; ++k) {
    for (int r = 0; r < job.size(); ++r)
      control->send(r, {.kind = MessageKind::plan, .number = k, .payload = Bytes(k * 10)});
  }
  const uint64_t due = job.rank() == 0 ? kRounds * job.size() : kRounds;
  std::unique_lock lock(mutex);
  require(changed.wait_for(lock, std::chrono::seconds(30), [&] { return num_messages == due; }),
          "every plan has its result");
  lock.unlock();
  const std::vector<uint64_t> numbers = job.exchange_numbers("numbers", 100 + static_cast<uint64_t>(job.rank()));
  require(numbers.size() == static_cast<size_t>(job.size()), "a number of every rank");
  for (int r = 0; r < job.size(); ++r) require(numbers[r] == 100u + r, "the number of rank " + std::to_string(r));
  const auto text_of = [](int rank) {
    return std::string(static_cast<size_t>(rank) * 1000, 'a') + std::to_string(rank);
  };
  const std::vector<std::string> texts = job.exchange_texts("texts", text_of(job.rank()));
  require(texts.size() == static_cast<size_t>(job.size()), "a text of every rank");
  for (int r = 0; r < job.size(); ++r) require(texts[r] == text_of(r), "the text of rank " + std::to_string(r));
  require(job.num_cores_of_host() >= job.cores().count() && job.cores().count() > 0, "the host has this rank's cores");
  job.barrier("after the control messages", 30'000);
  control->close();
  require(lost.empty(), lost);
}

/// More than MPI sends eagerly, to a rank that receives while the sender waits for its word, which comes by control.
void check_progress(Job& job) {
  if (job.size() < 2) return;
  constexpr size_t kBytes = 3'000'000;
  std::vector<int> all(job.size());
  std::iota(all.begin(), all.end(), 0);
  std::atomic<int> num_words{0};
  const std::unique_ptr<ControlChannel> control = job.make_control();
  control->start({.on_message = [&](int, const ControlMessage&) { ++num_words; },
                  .on_lost = [](int rank, const std::string& reason) { end_job(std::to_string(rank) + ": " + reason); },
                  .on_dropped = [](const std::string& reason) { leave_job(reason); }});
  const auto group = job.make_communicator(all, {.epoch = 4});
  const int last = job.size() - 1;
  if (job.rank() == 0) {
    group->send(last, pattern(0, last, kBytes));
    for (int i = 0; i < 60'000 && num_words == 0; ++i) {
      group->progress();
      usleep(500);
    }
    require(num_words == 1, "what was sent arrives while the sender only makes progress");
    require(!group->progress(), "nothing is on its way");
  } else if (job.rank() == last) {
    usleep(100'000);  // the sender is back from send()
    Bytes in(kBytes);
    group->receive(0, in);
    require(in == pattern(0, last, kBytes), "the bytes of progress");
    control->send(0, {.kind = MessageKind::status, .payload = {}});
  }
  job.barrier("after the progress", 60'000);
  control->close();
}

void check_groups(Job& job, const std::string& name) {
  std::vector<int> all(job.size());
  std::iota(all.begin(), all.end(), 0);
  check_exchanges(*job.make_communicator(all, {.epoch = 1}), name + ", all ranks");
  // The groups of a layout, alive at the same time.
  const Layout layout(choose_layout({.dp = 0, .tp = job.size() % 2 == 0 ? 2 : 1, .pp = 0}, job.host_of_rank()),
                      job.host_of_rank());
  const Place place = layout.place(job.rank());
  const auto replica = job.make_communicator(layout.replica(place.dp), {.epoch = 2});
  const auto tensor = job.make_communicator(layout.tensor_group(place.dp, place.pp),
                                            {.epoch = 2, .index = 1 + static_cast<uint32_t>(place.pp)});
  check_exchanges(*tensor, name + ", tensor-parallel group");
  check_exchanges(*replica, name + ", replica");
  if (job.size() > 1) {
    // An absent peer ends a wait at the deadline.
    const auto short_waits = job.make_communicator(all, {.epoch = 3}, {.timeout_ms = 200});
    bool ended = false;
    Bytes in(8);
    try {
      if (job.rank() == 0) short_waits->receive(1, in);
    } catch (const CommunicatorError&) {
      ended = true;
    }
    require(ended == (job.rank() == 0), name + ", a deadline");
    job.barrier("after the deadline", 30'000);
  }
}

void check_all(int ranks_per_host) {
  std::unique_ptr<Job> job =
      start_job({.start_timeout_ms = 30'000, .interface = "lo", .ranks_per_host = ranks_per_host});
  check_groups(*job, ranks_per_host == 0 ? "one host" : std::to_string(ranks_per_host) + " ranks a host");
  check_control(*job);
  check_progress(*job);
  const int rank = job->rank();
  job->finish();
  job.reset();
  int initialized = 0;
  MPI_Initialized(&initialized);
  std::printf("rank %d: all is well%s\n", rank, initialized != 0 ? "" : ", without MPI");
}

[[noreturn]] void say_when_and(const std::function<void()>& die) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  std::printf("dies at %ld\n", long(std::chrono::duration_cast<std::chrono::milliseconds>(now).count()));
  std::fflush(stdout);
  usleep(100'000);  // until mpirun has forwarded the line
  die();
  std::abort();
}

/// All ranks are connected and wait for each other in an exchange; then one is lost.
void lose_a_rank(const std::string& mode) {
  const std::unique_ptr<Job> job = start_job();
  std::vector<int> all(job->size());
  std::iota(all.begin(), all.end(), 0);
  const auto group = job->make_communicator(all, {});
  const auto control = job->make_control();
  const int num_ranks = job->size();
  control->start({.on_message =
                      [&](int, const ControlMessage& message) {
                        if (message.kind != MessageKind::failure) return;
                        leave_ended_job(*control, num_ranks, std::string(message.payload.size(), '?'));
                      },
                  .on_lost =
                      [&](int rank, const std::string& reason) {
                        const std::string cause =
                            "rank " + std::to_string(rank) + " on " + job->host_name(rank) + " was lost: " + reason;
                        if (rank == 0) end_job_after_rank_0(cause);
                        end_job_everywhere(*control, num_ranks, cause);
                      },
                  .on_dropped = [](const std::string& reason) { leave_job(reason); }});
  job->barrier("before the loss", 30'000);
  const int victim = mode == "lost-front" ? 0 : 1;
  if (job->rank() == victim) {
    say_when_and([&] {
      if (mode == "fault") {
        end_job_everywhere(*control, num_ranks, "a fault of its own");
        for (;;) pause();
      }
      kill(getpid(), SIGKILL);
    });
  }
  Bytes in(8);
  // Not the lost rank's own departure but an answer that never comes: the wait has to be ended from outside.
  group->receive(job->rank() == 2 ? (victim == 0 ? 1 : 0) : 2, in);
}

}  // namespace
}  // namespace echelon

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  try {
    if (mode == "exchange") {
      const char* pretended = std::getenv("MPI_CHECK_RANKS_PER_HOST");
      echelon::check_all(pretended != nullptr ? std::atoi(pretended) : 0);
    } else if (mode == "lost-worker" || mode == "lost-front" || mode == "fault") {
      echelon::lose_a_rank(mode);
    } else {
      std::fprintf(stderr, "mpi_check exchange | lost-worker | lost-front | fault\n");
      return 2;
    }
  } catch (const std::exception& error) {
    echelon::end_job(error.what());
  }
  return 0;
}
