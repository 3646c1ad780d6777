// What `echelon doctor` prints, as text and as JSON: pure.
#pragma once

#include <string>
#include <vector>

#include "launch/doctor/findings.h"
#include "launch/doctor/rank_facts.h"

namespace echelon {

struct DoctorReport {
  std::vector<RankFacts> ranks;  ///< by rank; at least one
  std::vector<Finding> findings;
  bool has_errors() const;
};

std::string doctor_text(const DoctorReport& report);
/// {"ranks": [..], "findings": [{"error", "what", "cure"}], "errors": N, "warnings": N}.
std::string doctor_json(const DoctorReport& report);

}  // namespace echelon
