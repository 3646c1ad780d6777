#include "kernels/base/error.h"

namespace echelon {

std::string_view to_string(Part part) {
  switch (part) {
    case Part::weights: return "weights";
    case Part::text: return "text";
    case Part::model: return "model";
    case Part::engine: return "engine";
    case Part::kernels: return "kernels";
    case Part::parallel: return "parallel";
    case Part::frontend: return "frontend";
    case Part::launch: return "launch";
  }
  return "echelon";
}

Error::Error(Part part, const std::string& message)
    : std::runtime_error(std::string(to_string(part)) + ": " + message), part_(part) {}

}  // namespace echelon
