#include "launch/doctor/rank_facts.h"

#include <fmt/format.h>

#include <boost/json/parse.hpp>
#include <boost/json/value_from.hpp>
#include <boost/json/value_to.hpp>

#include "kernels/base/error.h"

namespace echelon {

boost::json::value to_json(const RankFacts& facts) { return boost::json::value_from(facts); }

RankFacts parse_rank_facts(const std::string& text) {
  try {
    return boost::json::value_to<RankFacts>(boost::json::parse(text));
  } catch (const std::exception& fault) {
    throw Error(Part::launch,
                fmt::format("what a rank tells of itself cannot be read ({}): is it of this version?", fault.what()));
  }
}

}  // namespace echelon
