// Memory that several processes (or threads) map: created by one under a random name, opened by the others, and
// unlinked once all have it, so that nothing is left over however the processes end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace echelon {

class SharedMemory {
 public:
  /// A new POSIX shared memory object, zeroed and with its pages reserved (a full /dev/shm is an Error here and not a
  /// SIGBUS later).
  static SharedMemory create(const std::string& name, uint64_t num_bytes);
  /// The object another process of this user has created; its size must be `num_bytes`. Nothing while it is not there,
  /// or has not got its size yet. Throws Error(Part::parallel).
  static std::optional<SharedMemory> open(const std::string& name, uint64_t num_bytes);
  /// Zeroed memory without a name, for threads of one process.
  static SharedMemory anonymous(uint64_t num_bytes);

  SharedMemory(SharedMemory&& other) noexcept;
  SharedMemory& operator=(SharedMemory&&) = delete;
  ~SharedMemory();

  std::byte* data() const { return data_; }
  uint64_t num_bytes() const { return num_bytes_; }
  /// Removes the name; the memory stays mapped. Done by the destructor of the creator otherwise.
  void unlink();

 private:
  SharedMemory(std::byte* data, uint64_t num_bytes, std::string name);

  std::byte* data_;
  uint64_t num_bytes_;
  std::string name_;  // only of the creator, until unlinked
};

/// "/echelon-UID-" and `what`, which no other job has.
std::string shared_memory_name(const std::string& what);
/// Whoever has created it may have died before it could.
void unlink_shared_memory(const std::string& name);

/// Removes objects of this user whose creator was killed before it could unlink them (older than ten minutes: start-up
/// is shorter).
void remove_stale_shared_memory();

}  // namespace echelon
