#include "frontend/metrics/pipeline_body.h"

#include <boost/json/array.hpp>

namespace echelon {

boost::json::object pipeline_body(std::span<const TracedMicroBatch> trace) {
  boost::json::array batches;
  for (const TracedMicroBatch& batch : trace) {
    boost::json::array stages;
    for (const TracedMicroBatch::Span& span : batch.stages)
      stages.push_back(boost::json::array{span.begin_age_s, span.end_age_s});
    batches.push_back(boost::json::object{
        {"replica", batch.replica}, {"number", batch.number}, {"rows", batch.rows}, {"stages", std::move(stages)}});
  }
  return {{"micro_batches", std::move(batches)}};
}

}  // namespace echelon
