// What a rank tells `echelon doctor` of itself, and what is made of it.
#include <boost/json/serialize.hpp>

#include "kernels/base/error.h"
#include "launch/doctor/report.h"
#include "tests/fuzzing/target.h"

namespace echelon::fuzzing {
namespace {

constexpr int64_t kConnections = 1024;

void run(std::string_view input) {
  try {
    const RankFacts facts = parse_rank_facts(std::string(input));
    const std::string text = boost::json::serialize(to_json(facts));
    expect(boost::json::serialize(to_json(parse_rank_facts(text))) == text, "what is read is written as it was");
    DoctorReport report{.ranks = {facts, RankFacts(), facts}, .findings = {}};
    report.findings = find_faults(report.ranks, kConnections);
    doctor_text(report);
    doctor_json(report);
  } catch (const Error&) {
  }
}

std::vector<std::string> seeds() {
  RankFacts facts;
  facts.host = "n1";
  facts.gpus = {"H100"};
  facts.model.fault = "no such file";
  facts.link = {"MPI", 2.5, 1e9, ""};
  return {boost::json::serialize(to_json(RankFacts())), boost::json::serialize(to_json(facts))};
}

const Target target("rank_facts", run, seeds,
                    {"\"host\":", "\"link\":{", "-1", "1e308", "9223372036854775807", "true", "null", "[", "]"});

}  // namespace
}  // namespace echelon::fuzzing
