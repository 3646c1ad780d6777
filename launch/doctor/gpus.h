// Devices by the CUDA driver, opened at run time: also where this program was built without CUDA.
#pragma once

#include <string>
#include <vector>

namespace echelon {

struct Gpus {
  std::vector<std::string> names;  ///< as CUDA_VISIBLE_DEVICES shows them
  std::string why_none;            ///< for people; empty when there are some
};
Gpus find_gpus();

}  // namespace echelon
