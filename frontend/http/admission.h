// Which connections come in: all of them are counted, and those of each address.
#pragma once

#include <cstddef>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

namespace echelon {

/// Any thread. Outlives its tickets.
class Admission {
 public:
  enum class Verdict {
    serve,
    too_many,             ///< to be told so
    too_many_of_address,  ///< likewise
    drop,                 ///< to be closed without a word: too many are being told already
  };

  /// A connection's place, for as long as it lives.
  class Ticket {
   public:
    Ticket(Ticket&& other) noexcept
        : admission_(std::exchange(other.admission_, nullptr)),
          address_(std::move(other.address_)),
          verdict_(other.verdict_) {}
    Ticket& operator=(Ticket&&) = delete;
    ~Ticket() {
      if (admission_ != nullptr) admission_->leave(*this);
    }
    Verdict verdict() const { return verdict_; }

   private:
    friend class Admission;
    Ticket(Admission* admission, std::string address, Verdict verdict)
        : admission_(admission), address_(std::move(address)), verdict_(verdict) {}

    Admission* admission_;
    std::string address_;  ///< empty: it does not count for one
    Verdict verdict_;
  };

  /// `most_of_address` 0: any number.
  Admission(size_t most, size_t most_of_address) : most_(most), most_of_address_(most_of_address) {}

  /// `address` empty: there is none, and no limit of one.
  Ticket admit(std::string address);

 private:
  void leave(const Ticket& ticket);

  const size_t most_, most_of_address_;
  std::mutex mutex_;  ///< guards all below
  size_t served_ = 0, told_ = 0;
  std::unordered_map<std::string, size_t> served_of_;  ///< by address; no zeros
};

}  // namespace echelon
