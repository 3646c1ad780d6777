// The threads of one CPU backend: one call at a time is divided into parts, and every thread has its share of them.
// Workers spin for a short, bounded time after a call and then sleep, so that the calls of one forward pass follow each
// other within a microsecond and an idle process burns nothing. A thread that is done takes shares that nobody has
// begun: where the processors are taken by others, a call does not wait for a worker to wake.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace echelon::cpu {

/// parallel() is called by one thread at a time, and never from inside a part. Every part runs in the FloatEnvironment.
class ThreadPool {
 public:
  /// spin: wait up to kSpinMicroseconds before sleeping. sleep: sleep at once; for ranks that outnumber the cores.
  enum class Waiting { spin, sleep };

  /// num_threads >= 1 counts the caller; num_threads - 1 workers are started (checked: at most kMaxThreads).
  explicit ThreadPool(int num_threads, Waiting waiting = Waiting::spin);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(claims_.size()); }

  /// Calls f(part) once for every part in [0, num_parts) and returns when all are done. Share t is the parts t, t +
  /// num_threads, ..., ascending, run by thread t unless another was there first; the caller is thread 0. With one
  /// thread or one part everything runs in the caller. Costs about 0.2 us when the workers are awake. An exception of a
  /// part is rethrown once no part runs any more.
  template <class F>
  void parallel(int num_parts, F&& f) {
    using Callable = std::remove_reference_t<F>;
    run(
        num_parts, [](void* context, int part) { (*static_cast<Callable*>(context))(part); },
        const_cast<void*>(static_cast<const void*>(std::addressof(f))));
  }

  static constexpr int kMaxThreads = 1024;
  static constexpr int kSpinMicroseconds = 50;

 private:
  using Function = void (*)(void* context, int part);

  /// The last call whose share `t` somebody began.
  struct alignas(64) Claim {
    std::atomic<uint32_t> call{0};
  };

  void run(int num_parts, Function function, void* context);
  bool claim(int share, uint32_t call);
  void run_shares(int thread, uint32_t call);
  bool run_share(int share);
  void work(int thread);
  void stop();
  void note_exception();

  // The call in progress: written before epoch_ moves, read after a share of it was claimed.
  Function function_ = nullptr;
  void* context_ = nullptr;
  int num_parts_ = 0;

  alignas(64) std::atomic<uint32_t> epoch_{0};    ///< number of the call; workers wait on it
  alignas(64) std::atomic<uint32_t> pending_{0};  ///< shares that are not done; the caller waits on it
  std::atomic<bool> stop_{false};
  std::mutex exception_mutex_;
  std::exception_ptr exception_;
  bool spin_;
  std::vector<Claim> claims_;  ///< one for each thread
  std::vector<std::thread> workers_;
};

/// Part `part` of `num_parts` of [0, total): the first and end index. Parts differ by at most one.
struct Share {
  int64_t first = 0, end = 0;
};
constexpr Share share_of(int64_t total, int part, int num_parts) {
  return {.first = total * part / num_parts, .end = total * (part + 1) / num_parts};
}

/// How many threads a call is worth: waking one costs about as much as 8192 simple floats.
inline int parts_for(const ThreadPool& threads, int64_t units, int64_t floats) {
  constexpr int64_t kFloatsPerThread = 8192;
  const int64_t useful = floats / kFloatsPerThread + 1;
  return static_cast<int>(std::min<int64_t>({threads.num_threads(), units, useful}));
}

}  // namespace echelon::cpu
