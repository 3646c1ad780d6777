// The pool's protocol: the caller publishes a call by moving epoch_; whoever moves a share's claim to the call's number
// runs that share, and counts pending_ down when it is done. While a share is claimed and not done the call cannot end,
// so what the call wrote stays; a worker that comes late finds its share claimed for the call it saw, touches nothing
// and waits for the next. epoch_ and pending_ are futexes (std::atomic::wait) behind a bounded spin.
#include "kernels/cpu/thread_pool.h"

#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <system_error>
#include <utility>

#include "kernels/base/check.h"
#include "kernels/base/error.h"
#include "kernels/cpu/float_environment.h"

namespace echelon::cpu {
namespace {

/// Waits until value differs from old, spinning first when asked.
void wait_for_change(const std::atomic<uint32_t>& value, uint32_t old, bool spin) {
  if (spin) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::microseconds(ThreadPool::kSpinMicroseconds);
    do {
      for (int i = 0; i < 32; ++i) {
        if (value.load(std::memory_order_acquire) != old) return;
        _mm_pause();
      }
    } while (std::chrono::steady_clock::now() < deadline);
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(int num_threads, Waiting waiting)
    : spin_(waiting == Waiting::spin), claims_(static_cast<size_t>(std::clamp(num_threads, 1, kMaxThreads))) {
  ECHELON_CHECK(num_threads >= 1 && num_threads <= kMaxThreads, "{} threads", num_threads);
  workers_.reserve(num_threads - 1);
  for (int thread = 1; thread < num_threads; ++thread) {
    try {
      workers_.emplace_back([this, thread] { work(thread); });
    } catch (const std::system_error& error) {
      stop();
      throw Error(Part::kernels, fmt::format("cannot start thread {} of {} (--threads, ulimit -u): {}", thread + 1,
                                             num_threads, error.what()));
    }
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  stop_.store(true, std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(int num_parts, Function function, void* context) {
  if (num_parts <= 0) return;
  if (workers_.empty() || num_parts == 1) {
    const FloatEnvironment environment;
    for (int part = 0; part < num_parts; ++part) function(context, part);
    return;
  }
  const int num_shares = std::min(num_parts, num_threads());
  const uint32_t call = epoch_.load(std::memory_order_relaxed) + 1;
  function_ = function;
  context_ = context;
  num_parts_ = num_parts;
  // A share without parts is nobody's: it counts as begun.
  for (int share = num_shares; share < num_threads(); ++share)
    claims_[share].call.store(call, std::memory_order_relaxed);
  pending_.store(static_cast<uint32_t>(num_shares), std::memory_order_relaxed);
  epoch_.store(call, std::memory_order_release);
  epoch_.notify_all();
  {
    const FloatEnvironment environment;
    run_shares(0, call);
  }
  for (uint32_t left; (left = pending_.load(std::memory_order_acquire)) != 0;) wait_for_change(pending_, left, spin_);
  if (exception_) std::rethrow_exception(std::exchange(exception_, nullptr));
}

bool ThreadPool::claim(int share, uint32_t call) {
  std::atomic<uint32_t>& claimed = claims_[share].call;
  uint32_t before = claimed.load(std::memory_order_relaxed);
  // A number after `call` was written by a later call: the one that the thread saw has ended.
  return static_cast<int32_t>(call - before) > 0 &&
         claimed.compare_exchange_strong(before, call, std::memory_order_acquire, std::memory_order_relaxed);
}

/// The thread's own share first, then those that nobody has begun. Share 0 is the caller's in any case.
void ThreadPool::run_shares(int thread, uint32_t call) {
  if ((thread == 0 || claim(thread, call)) && run_share(thread)) return;
  // The others are most often as far: looking at their claims at once would take lines from them that they need.
  constexpr int kPatience = 32;
  for (int i = 0; i < kPatience; ++i) {
    if (pending_.load(std::memory_order_relaxed) == 0) return;
    _mm_pause();
  }
  for (int i = 1; i < num_threads(); ++i) {
    const int share = (thread + i) % num_threads();
    if (share != 0 && claim(share, call) && run_share(share)) return;
  }
}

/// True when it was the last one.
bool ThreadPool::run_share(int share) {
  try {
    for (int part = share; part < num_parts_; part += num_threads()) function_(context_, part);
  } catch (...) {
    note_exception();
  }
  if (pending_.fetch_sub(1, std::memory_order_release) != 1) return false;
  pending_.notify_one();
  return true;
}

void ThreadPool::note_exception() {
  const std::scoped_lock lock(exception_mutex_);
  if (!exception_) exception_ = std::current_exception();
}

void ThreadPool::work(int thread) {
  const FloatEnvironment environment;
  uint32_t seen = 0;
  while (true) {
    wait_for_change(epoch_, seen, spin_);
    seen = epoch_.load(std::memory_order_acquire);
    if (stop_.load(std::memory_order_relaxed)) return;
    run_shares(thread, seen);
  }
}

}  // namespace echelon::cpu
