// One mailbox per rank, one thread that empties it. A goodbye or a loss is an item of the mailbox, so that it keeps its
// place behind what was sent before.
#include "parallel/local/local_control.h"

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "kernels/base/check.h"

namespace echelon {
namespace {

constexpr size_t kMaxQueued = 1 << 20;

struct Item {
  int from = 0;
  ControlMessage message;  // `bye`: the sender left; with lost = true: it died, or with `failure` gave up the receiver
  bool lost = false;
  std::string reason;
};

struct Mailbox {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Item> items;
  bool closed = false;

  void put(Item item) {
    const std::lock_guard lock(mutex);
    if (closed) return;
    ECHELON_CHECK(items.size() < kMaxQueued, "{} control messages wait for one rank", items.size());
    items.push_back(std::move(item));
    changed.notify_one();
  }
  void shut() {
    const std::lock_guard lock(mutex);
    closed = true;
    changed.notify_one();
  }
};

using Star = std::vector<Mailbox>;

class LocalControl : public ControlChannel {
 public:
  LocalControl(std::shared_ptr<Star> star, int rank) : star_(std::move(star)), rank_(rank) {}
  ~LocalControl() override {
    close();
    const std::lock_guard lock(join_mutex_);
    ECHELON_CHECK(!thread_.joinable(), "a channel was destroyed by its own handler");
  }

  void start(Handlers handlers) override {
    ECHELON_CHECK(!thread_.joinable() && handlers.on_message && handlers.on_lost);
    ECHELON_CHECK(rank_ == 0 || handlers.on_dropped);
    handlers_ = std::move(handlers);
    thread_ = std::thread([this] {
      pthread_setname_np(pthread_self(), "control");
      run();
    });
  }

  void send(int rank, ControlMessage message) override {
    ECHELON_CHECK(rank >= 0 && rank < size() && (rank_ == 0 || rank == 0 || rank == rank_), "rank {} sends to {}",
                  rank_, rank);
    if (left_) return;
    if (rank == rank_) return handlers_.on_message(rank, std::move(message));
    star_->at(rank).put({.from = rank_, .message = std::move(message), .lost = false, .reason = {}});
  }

  void drop(int rank, const std::string& reason) override {
    ECHELON_CHECK(rank_ == 0 && rank > 0 && rank < size(), "rank {} drops rank {}", rank_, rank);
    star_->at(rank).put({.from = 0, .message = {.kind = MessageKind::failure}, .lost = true, .reason = reason});
    star_->at(0).put({.from = rank, .message = {}, .lost = true, .reason = reason});
  }

  void close() override {
    leave({.from = rank_, .message = {.kind = MessageKind::bye}, .lost = false, .reason = {}});
    const std::lock_guard lock(join_mutex_);
    if (thread_.joinable() && thread_.get_id() != std::this_thread::get_id()) thread_.join();
  }

  void break_off(const std::string& reason) { leave({.from = rank_, .message = {}, .lost = true, .reason = reason}); }

 private:
  int size() const { return static_cast<int>(star_->size()); }

  void leave(Item last) {
    if (left_.exchange(true)) return;
    for (int rank = 0; rank < size(); ++rank) {
      if (rank != rank_ && (rank == 0 || rank_ == 0)) star_->at(rank).put(last);
    }
    star_->at(rank_).shut();
  }

  void run() {
    Mailbox& mailbox = star_->at(rank_);
    std::set<int> gone;
    for (;;) {
      std::unique_lock lock(mailbox.mutex);
      mailbox.changed.wait(lock, [&] { return mailbox.closed || !mailbox.items.empty(); });
      if (mailbox.closed) return;
      Item item = std::move(mailbox.items.front());
      mailbox.items.pop_front();
      lock.unlock();
      if (gone.contains(item.from)) continue;
      if (item.lost || item.message.kind == MessageKind::bye) gone.insert(item.from);
      if (item.lost && item.message.kind == MessageKind::failure) {
        handlers_.on_dropped(item.reason);
      } else if (item.lost) {
        handlers_.on_lost(item.from, item.reason);
      } else if (item.message.kind != MessageKind::bye) {
        handlers_.on_message(item.from, std::move(item.message));
      }
    }
  }

  const std::shared_ptr<Star> star_;  // owners: the ends
  const int rank_;
  std::atomic<bool> left_{false};
  Handlers handlers_;
  std::mutex join_mutex_;
  std::thread thread_;
};

}  // namespace

std::vector<std::unique_ptr<ControlChannel>> make_local_control(int num_ranks) {
  ECHELON_CHECK(num_ranks >= 1);
  const auto star = std::make_shared<Star>(num_ranks);
  std::vector<std::unique_ptr<ControlChannel>> ends;
  for (int rank = 0; rank < num_ranks; ++rank) ends.push_back(std::make_unique<LocalControl>(star, rank));
  return ends;
}

void break_local_control(ControlChannel& end, const std::string& reason) {
  dynamic_cast<LocalControl&>(end).break_off(reason);
}

}  // namespace echelon
