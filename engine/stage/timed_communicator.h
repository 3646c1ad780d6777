// A group of tensor-parallel parts whose exchanges are counted as waiting: two readings of the clock each.
#pragma once

#include "engine/stage/stage_clock.h"
#include "parallel/communicator.h"

namespace echelon {

class TimedCommunicator final : public Communicator {
 public:
  /// Borrowed. Counts in clock.wait.exchange. Of use once it has a group.
  explicit TimedCommunicator(StageClock& clock) : clock_(clock) {}

  /// Borrowed.
  void set_group(Communicator* group) { group_ = group; }

  int rank() const override { return group_->rank(); }
  int size() const override { return group_->size(); }
  void send(int peer, std::span<const std::byte> bytes) override {
    const Count count(clock_);
    group_->send(peer, bytes);
  }
  void receive(int peer, std::span<std::byte> out) override {
    const Count count(clock_);
    group_->receive(peer, out);
  }
  void all_gather(std::span<const std::byte> mine, std::span<const std::span<std::byte>> out) override {
    const Count count(clock_);
    group_->all_gather(mine, out);
  }
  void all_to_all(std::span<const std::span<const std::byte>> mine,
                  std::span<const std::span<std::byte>> out) override {
    const Count count(clock_);
    group_->all_to_all(mine, out);
  }
  void abandon(const std::string& reason) override { group_->abandon(reason); }

 private:
  class Count {
   public:
    explicit Count(StageClock& clock) : clock_(clock), since_(StageTime::clock::now()) {}
    ~Count() { clock_.wait.exchange += seconds_between(since_, StageTime::clock::now()); }

   private:
    StageClock& clock_;
    StageTime since_;
  };

  Communicator* group_ = nullptr;
  StageClock& clock_;
};

}  // namespace echelon
