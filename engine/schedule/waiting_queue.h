// Sequences that wait, in the order in which they should start: the best class first; inside a class, the tenant that
// was served least; of a tenant, the oldest. Of kTurnOfOthers starts while other classes wait, too, one is of the
// sequence that has waited longest in them, so that nobody waits for ever. One thread.
//
// Service is counted in tokens: of the prompt that had to be run, and of the output. A tenant that comes starts level
// with the one served least of those that have work, so that being away earns nothing, and with as much work as others
// it gets as many tokens for each unit of its weight: two tenants that always wait differ by no more than what one may
// have running.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <unordered_map>
#include <vector>

#include "engine/schedule/sequence.h"

namespace echelon {

/// Class, then age.
struct ClassAndAge {
  bool operator()(const Sequence* a, const Sequence* b) const {
    return a->priority != b->priority ? a->priority < b->priority : a->order < b->order;
  }
};

inline constexpr int kMaxTenantWeight = 1000;
inline constexpr int kTurnOfOthers = 16;

class WaitingQueue {
  using OfTenant = std::set<Sequence*, ClassAndAge>;
  struct Tenant {
    int64_t served = 0;  ///< 1 / kMaxTenantWeight tokens for each unit of weight
    int num_sequences = 0;
    int weight = 1;
    void charge(int64_t tokens) { served += tokens * kMaxTenantWeight / weight; }
  };
  using OfClass = std::unordered_map<TenantId, OfTenant>;

 public:
  /// A tenant has work from the first to the last of its sequences, waiting or not.
  /// weight: in [1, kMaxTenantWeight]; the newest counts.
  void enter(TenantId tenant, int weight);
  void leave(TenantId tenant);
  void charge(TenantId tenant, int64_t tokens) { tenants_.at(tenant).charge(tokens); }

  void insert(Sequence* sequence);
  void erase(Sequence* sequence);
  /// Erases one that starts. From a class that is not the best it gets into the best, but for background work: it shall
  /// not be the first to be preempted for those that it was started before.
  void start(Sequence* sequence);
  bool contains(const Sequence* sequence) const;
  size_t size() const { return size_; }
  /// Other than background work waits.
  bool has_foreground() const { return !classes_.empty() && classes_.begin()->first != kBackgroundPriority; }

  /// Calls f(sequence) for all in no particular order, until it returns false.
  template <typename F>
  void each(F f) const {
    for (const auto& [priority, tenants] : classes_) {
      for (const auto& [tenant, sequences] : tenants) {
        for (const Sequence* sequence : sequences) {
          if (!f(*sequence)) return;
        }
      }
    }
  }

  /// Gives one after the other as if each that was given had started. What it gave may be erased meanwhile, and others
  /// inserted (they may be left out); nothing else.
  class Order {
   public:
    explicit Order(const WaitingQueue& queue);
    /// Null behind the last.
    Sequence* next();

   private:
    struct Head {
      Tenant tenant;
      OfTenant::const_iterator sequence, end;
      bool operator<(const Head& other) const {  // the largest of a heap is to start first
        return tenant.served != other.tenant.served ? tenant.served > other.tenant.served
                                                    : (*sequence)->order > (*other.sequence)->order;
      }
    };
    bool open_class(std::map<int, OfClass>::const_iterator of_class);
    const WaitingQueue& queue_;
    std::vector<Head> heads_;
    int priority_ = 0;
    Sequence* turn_ = nullptr;  ///< of another class, to be given first
  };

 private:
  std::map<int, OfClass> classes_;  ///< none is empty
  std::unordered_map<TenantId, Tenant> tenants_;
  size_t size_ = 0;
  int starts_before_others_ = 0;  ///< of the best class, since one of another started
};

}  // namespace echelon
