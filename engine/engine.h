// The engine as the front end sees it: requests in, tokens out. One implementation serves (engine/serving_engine.h).
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "engine/engine_metrics.h"
#include "engine/request.h"
#include "engine/request_error.h"

namespace echelon {

class Tokenizer;
class ChatTemplate;
class GrammarCache;

/// What is served. Set once, when the model's metadata has been read; immutable after that.
struct ModelInfo {
  std::string name;         ///< served model name
  std::string root;         ///< path or name it was loaded from
  std::string family;       ///< "llama", "qwen2", "gemma3"
  std::string fingerprint;  ///< system_fingerprint: what the bits of an answer depend on
  int64_t created_unix_s = 0;
  int max_model_len = 0;                              ///< prompt and output tokens together
  int64_t vocab_size = 0;                             ///< width of the logits
  int64_t hidden_size = 0;                            ///< width of pooled vectors
  std::shared_ptr<const Tokenizer> tokenizer;         ///< owners: this and sessions in flight
  std::shared_ptr<const ChatTemplate> chat_template;  ///< null: the model has none
  std::shared_ptr<GrammarCache> grammars;             ///< of its vocabulary
  std::string tool_call_parser = "auto";  ///< how it writes calls: a name, "auto" (its template's) or "none"
  std::string reasoning_parser = "auto";  ///< whether it marks its reasoning: "think", "auto" or "none"
  std::string bos_text, eos_text;         ///< for the template
  SamplingParams default_sampling;  ///< from generation_config.json; only temperature, top_k, top_p, repetition_penalty
  std::vector<TokenId> end_tokens;  ///< end of generation
  std::optional<uint64_t> default_seed;  ///< of requests that bring none; empty: each draws its own
};

/// repairing: no replica serves until ranks have taken the places of lost ones; requests are taken, and wait.
enum class EngineState { loading, ready, repairing, draining, stopped, failed };

class Engine {
 public:
  virtual ~Engine() = default;

  virtual EngineState state() const = 0;
  virtual std::string state_reason() const = 0;  ///< for /health: "reading weights 43 %", "rank 2 lost: ..."
  /// Null while the model's metadata is being read.
  virtual std::shared_ptr<const ModelInfo> model() const = 0;
  /// True while the step loop moves or is idle with an empty queue.
  virtual bool is_alive() const = 0;

  /// Any thread. Errors: 400 (prompt empty, ids out of range, too long: code "context_length_exceeded", sampling
  /// parameters, pooling with what only tokens have), 429 queue full, 503 not ready or draining (with retry_after_s).
  /// The listener is kept until its last choice has finished.
  virtual RequestResult<RequestHandle> submit(Request request, std::shared_ptr<RequestListener> listener) = 0;
  /// Any thread. Unfinished choices end with FinishReason::abort. Unknown or finished handles are ignored.
  virtual void cancel(RequestHandle handle) = 0;
  /// One choice only (its stop string was found): it ends as FinishReason::stop.
  virtual void stop_choice(RequestHandle handle, int choice) = 0;

  /// Any thread. Requests that are submitted after this share no prefix with those before.
  virtual void reset_prefix_cache() = 0;

  virtual EngineMetrics metrics() const = 0;
  /// Any thread. The last micro-batches on every stage, the oldest of each replica first.
  virtual std::vector<TracedMicroBatch> pipeline() const = 0;
};

}  // namespace echelon
