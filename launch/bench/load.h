// Sends requests to a server as its users would, and measures each of them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "launch/bench/figures.h"
#include "launch/client/http_client.h"

namespace echelon {

struct BenchLoad {
  ServerAddress server;
  std::string api_key, model;
  int prompt_tokens = 512, output_tokens = 128, num_requests = 64;
  int clients = 1;  ///< each with one request at a time
  double rate = 0;  ///< above 0: instead requests a second, at random times (Poisson), however many are under way
  uint64_t seed = 0;
};

struct LoadResult {
  double seconds = 0;  ///< from the first request's beginning to the last one's end
  std::vector<RequestSample> samples;
  bool interrupted = false;  ///< by SIGINT: what was under way is not there
};

/// /v1/completions, streamed, greedy, with prompts of token ids drawn for each request and outputs of exactly
/// output_tokens (ignore_eos). One thread. `on_done`: after each request. Throws Error(Part::launch) when the server's
/// name cannot be looked up; what else fails is in the samples.
LoadResult run_load(const BenchLoad& load, const std::function<void(int done)>& on_done);

/// The name of the model that the server lists first.
std::string served_model(const ServerAddress& server, const std::string& api_key);

/// The body of a request.
std::string completion_body(const BenchLoad& load, int index);

/// Takes the data of the events of one answer, `seconds` after its beginning.
class SampleReader {
 public:
  void take(std::string_view data, double seconds);
  RequestSample sample;

 private:
  double last_s_ = -1;
};

}  // namespace echelon
