// What the operating system says of this process and its host.
#pragma once

#include <cstdint>

namespace echelon {

uint64_t available_host_bytes();  ///< MemAvailable, or the cgroup's limit less its use when that is smaller
uint64_t resident_bytes();        ///< of this process
double process_cpu_seconds();     ///< user and system

}  // namespace echelon
