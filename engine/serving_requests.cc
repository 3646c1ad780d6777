// What becomes of requests, on the engine's own thread: they come in, get tokens, and end.
#include <fmt/format.h>

#include <algorithm>

#include "engine/schedule/wire.h"
#include "engine/serving_engine.h"
#include "kernels/base/check.h"

namespace echelon {
namespace {

double seconds_between(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

/// Of a request whose result was no number.
std::string cause_of_error(const Request& request) {
  if (request.pooling != Pooling::none) return "the model gave no finite hidden states";
  return request.grammar == nullptr ? "the model gave no finite logits"
                                    : "the grammar, the vocabulary and the other parameters together allow no token";
}

/// The grammar goes on with bytes that no token of the vocabulary has.
bool allows_nothing(Matcher& matcher, int64_t vocab_size) {
  TokenMask mask(vocab_size);
  matcher.fill(mask);
  return mask.count() == 0;
}

RequestError queue_timeout(int limit_s) {
  return {.http_status = 429,
          .message = fmt::format("the request did not start within {} s (--max-queue-time-s)", limit_s),
          .type = "rate_limit_error",
          .code = "queue_timeout",
          .retry_after_s = limit_s};
}

RequestError client_queue_timeout(const Request& request) {
  return {.http_status = 408,
          .message = fmt::format("the request did not start within its timeout of {} ms", request.timeout->count()),
          .type = "timeout_error",
          .param = "timeout",
          .code = "timeout"};
}

RequestError generation_timeout(const Request& request) {
  return {.http_status = 408,
          .message = fmt::format("the answer was not complete within the timeout of {} ms", request.timeout->count()),
          .type = "timeout_error",
          .param = "timeout",
          .code = "timeout"};
}

}  // namespace

void ServingEngine::handle_submit(Event& event) {
  auto owned = std::make_unique<ActiveRequest>();
  ActiveRequest& active = *owned;
  active.handle = event.handle;
  active.request = std::move(event.request);
  active.listener = std::move(event.listener);
  active.num_open = active.request.num_choices;
  const uint64_t cache_salt = std::hash<std::string>()(active.request.cache_salt);
  const auto weighted = options_.tenant_weights.find(active.request.tenant);
  const int weight = weighted == options_.tenant_weights.end() ? 1 : weighted->second;
  std::vector<Sequence> choices;
  const SequenceId first = next_sequence_;
  for (int i = 0; i < active.request.num_choices; ++i) {
    Sequence sequence;
    sequence.id = next_sequence_++;
    sequence.first_choice = first;
    sequence.choice = active.request.first_choice + i;
    sequence.priority = active.request.priority;
    sequence.tenant = std::hash<std::string>()(active.request.tenant);
    sequence.weight = weight;
    sequence.cache_salt = cache_salt;
    sequence.order = next_order_++;
    sequence.sampling = active.request.sampling;
    sequence.pooling = active.request.pooling;
    if (i > 0) sequence.sampling.num_prompt_logprobs = -1;  // choice 0 brings them for all
    sequence.tokens = active.request.prompt;
    sequence.num_prompt = static_cast<int>(sequence.tokens.size());
    sequence.tokens.insert(sequence.tokens.end(), active.request.output.begin(), active.request.output.end());
    active.sequences.push_back(sequence.id);
    ActiveChoice& choice = choices_[sequence.id];
    choice = {.request = &active, .index = i};
    if (active.request.grammar != nullptr) {
      sequence.masked = true;
      choice.matcher = std::make_unique<Matcher>(active.request.grammar);
      for (const TokenId token : active.request.output) choice.matcher->advance(token);
    }
    choices.push_back(std::move(sequence));
  }
  metrics_.prompt_tokens += active.request.prompt.size();
  requests_.emplace(event.handle, std::move(owned));
  set_deadlines(active);
  place(std::move(choices));
}

/// The choices of one request go to a replica, or wait for one that serves.
void ServingEngine::place(std::vector<Sequence> choices) {
  if (std::all_of(replicas_.begin(), replicas_.end(), [](const auto& replica) { return replica == nullptr; })) {
    held_.push_back(std::move(choices));
    return;
  }
  const size_t replica = placement_.choose(replicas_, choices.front().tokens, choices.front().cache_salt);
  for (const Sequence& choice : choices) choices_.at(choice.id).replica = static_cast<int>(replica);
  replicas_[replica]->scheduler().add(std::move(choices));
}

void ServingEngine::drop_held(SequenceId id) {
  for (std::vector<Sequence>& request : held_)
    std::erase_if(request, [&](const Sequence& choice) { return choice.id == id; });
  std::erase_if(held_, [](const std::vector<Sequence>& request) { return request.empty(); });
}

void ServingEngine::apply(const SequenceUpdate& update) {
  const auto found = choices_.find(update.sequence);
  if (found == choices_.end()) return;
  ActiveChoice& choice = found->second;
  ActiveRequest& request = *choice.request;
  if (choice.matcher != nullptr && update.token && update.token->token >= 0 &&
      !choice.matcher->advance(update.token->token))
    throw WireError(fmt::format("token {} was sampled, which its mask does not allow", update.token->token));
  const auto now = Clock::now();
  choice.prompt_logprobs.insert(choice.prompt_logprobs.end(), update.prompt_logprobs.begin(),
                                update.prompt_logprobs.end());
  if (!update.token && update.pooled.empty()) return;
  choice.num_interruptions = 0;
  OutputEvent event{.choice = choice.index,
                    .tokens = {},
                    .finish = update.finish,
                    .stop_token = update.stop_token,
                    .pooled = update.pooled,
                    .num_cached_tokens = update.num_cached};
  if (update.finish == FinishReason::error) {
    event.error = cause_of_error(request.request);
    event.pooled.clear();
    const bool is_its_own = choice.matcher != nullptr && (request.request.sampling.num_listed() > 0 ||
                                                          allows_nothing(*choice.matcher, model()->vocab_size));
    if (is_its_own) event.refusal = RequestError{.message = event.error, .code = "no_token_allowed"};
  } else if (update.token) {
    event.tokens.push_back(*update.token);
    ++metrics_.generation_tokens;
  }
  if (!choice.started) {
    choice.started = true;
    event.queue_seconds = request.queue_seconds;
    event.prompt_logprobs = std::move(choice.prompt_logprobs);
    if (update.token) metrics_.time_to_first_token.observe(seconds_between(request.request.arrival, now));
  } else {
    metrics_.inter_token_latency.observe(seconds_between(choice.last_token, now));
  }
  choice.last_token = now;
  outputs_.emplace_back(request.listener, std::move(event));
  if (!update.finish) return;
  ++metrics_.finished[static_cast<size_t>(*update.finish)];
  metrics_.end_to_end_latency.observe(seconds_between(request.request.arrival, now));
  request.sequences[choice.index] = 0;
  choices_.erase(found);
  --num_unfinished_;
  if (--request.num_open == 0) end_request(request.handle);
}

/// Ends a choice from outside: the client left, its stop string was found, or its time is over.
void ServingEngine::end_choice(SequenceId id, FinishReason reason, std::optional<RequestError> refusal) {
  const auto found = choices_.find(id);
  ECHELON_CHECK(found != choices_.end());
  const ActiveChoice choice = std::move(found->second);
  choices_.erase(found);
  if (choice.replica == kHeld) {
    drop_held(id);
  } else {
    replicas_.at(static_cast<size_t>(choice.replica))->scheduler().remove(id);
  }
  ActiveRequest& request = *choice.request;
  request.sequences[choice.index] = 0;
  ++metrics_.finished[static_cast<size_t>(reason)];
  outputs_.emplace_back(
      request.listener,
      OutputEvent{.choice = choice.index, .tokens = {}, .finish = reason, .refusal = std::move(refusal)});
  --num_unfinished_;
  if (--request.num_open == 0) end_request(request.handle);
}

void ServingEngine::end_request(RequestHandle handle) {
  const auto found = requests_.find(handle);
  deadlines_.remove(found->second->start_by, handle, Deadlines::Kind::start);
  deadlines_.remove(found->second->finish_by, handle, Deadlines::Kind::finish);
  requests_.erase(found);
}

void ServingEngine::set_deadlines(ActiveRequest& request) {
  if (options_.max_queue_time_s > 0) {
    request.start_by = request.request.arrival + std::chrono::seconds(options_.max_queue_time_s);
    deadlines_.add(request.start_by, request.handle, Deadlines::Kind::start);
  }
  if (request.request.timeout) {
    request.finish_by = request.request.arrival + *request.request.timeout;
    deadlines_.add(request.finish_by, request.handle, Deadlines::Kind::finish);
  }
}

/// Ends what has waited, or run, for too long.
void ServingEngine::expire() {
  while (const std::optional<Deadlines::Due> due = deadlines_.take_due(Clock::now())) {
    const auto found = requests_.find(due->handle);
    ECHELON_CHECK(found != requests_.end());
    const RequestError refusal = due->kind == Deadlines::Kind::start ? queue_timeout(options_.max_queue_time_s)
                                 : found->second->started            ? generation_timeout(found->second->request)
                                                                     : client_queue_timeout(found->second->request);
    for (const SequenceId id : std::vector(found->second->sequences)) {
      if (id != 0) end_choice(id, FinishReason::timeout, refusal);
    }
  }
}

/// Every request gets its end, those still in the inbox too.
void ServingEngine::abort_all(const std::string& message) {
  deliver();
  const auto abort = [&](RequestListener& listener, int choice) {
    listener.on_output({.choice = choice, .tokens = {}, .finish = FinishReason::error, .error = message});
    --num_unfinished_;
  };
  for (auto& [id, choice] : choices_) abort(*choice.request->listener, choice.index);
  choices_.clear();
  requests_.clear();
  held_.clear();
  {
    const std::lock_guard lock(mutex_);
    std::move(inbox_.begin(), inbox_.end(), std::back_inserter(taken_));
    inbox_.clear();
  }
  for (const Event& event : std::exchange(taken_, {})) {
    if (event.kind != Event::Kind::submit) continue;
    for (int choice = 0; choice < event.request.num_choices; ++choice) abort(*event.listener, choice);
  }
}

void ServingEngine::deliver() {
  for (auto& [listener, event] : outputs_) listener->on_output(std::move(event));
  outputs_.clear();
}

}  // namespace echelon
