// The pool's protocol: the caller publishes a call by moving epoch_, workers count pending_ down to zero. Both are
// futexes (std::atomic::wait) behind a bounded spin.
#include "kernels/cpu/thread_pool.h"

#include <immintrin.h>

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

ThreadPool::ThreadPool(int num_threads, Waiting waiting) : spin_(waiting == Waiting::spin) {
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
  function_ = function;
  context_ = context;
  num_parts_ = num_parts;
  pending_.store(static_cast<uint32_t>(workers_.size()), std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  {
    const FloatEnvironment environment;
    run_share(0);
  }
  for (uint32_t left; (left = pending_.load(std::memory_order_acquire)) != 0;) wait_for_change(pending_, left, spin_);
  if (exception_) std::rethrow_exception(std::exchange(exception_, nullptr));
}

void ThreadPool::run_share(int thread) {
  try {
    for (int part = thread; part < num_parts_; part += num_threads()) function_(context_, part);
  } catch (...) {
    note_exception();
  }
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
    run_share(thread);
    if (pending_.fetch_sub(1, std::memory_order_release) == 1) pending_.notify_one();
  }
}

}  // namespace echelon::cpu
