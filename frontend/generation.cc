// The strand's side of a request. The engine's thread only pushes into an inbox and posts.
// A reader that is too slow is cut off by the bound on buffer_.
#include "frontend/generation.h"

#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <set>
#include <utility>

#include "frontend/openai/bodies.h"
#include "frontend/refusals.h"
#include "kernels/base/log.h"

namespace echelon {
namespace {

namespace asio = boost::asio;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::string_view kComment = ": keep-alive\n\n";

std::vector<std::vector<TokenId>> tokens_of(const std::vector<AnswerPrompt>& prompts) {
  std::vector<std::vector<TokenId>> tokens;
  for (const auto& prompt : prompts) tokens.push_back(prompt.tokens);
  return tokens;
}

/// Keys do not share prefixes unless they are to, so that none can find out by a request's time what another sent.
std::string salt_of(const AnswerSetup& setup, const ServerOptions& options) {
  return fmt::format("{}\n{}", options.prefix_cache_per_key ? setup.tenant : "", setup.params.cache_salt);
}

}  // namespace

TokenInbox::TokenInbox(asio::any_io_executor strand, Consumer consumer)
    : strand_(std::move(strand)), consumer_(std::move(consumer)) {}

void TokenInbox::on_output(OutputEvent event) noexcept {
  const std::lock_guard lock(mutex_);
  if (!strand_) return;
  events_.push_back(std::move(event));
  if (std::exchange(posted_, true)) return;
  asio::post(*strand_, [self = shared_from_this()] { self->deliver(); });
}

void TokenInbox::deliver() {
  {
    const std::lock_guard lock(mutex_);
    posted_ = false;
    delivered_.swap(events_);
  }
  for (OutputEvent& event : delivered_) {
    if (consumer_) consumer_(std::move(event));
  }
  delivered_.clear();
}

void TokenInbox::close() {
  {
    const std::lock_guard lock(mutex_);
    strand_.reset();
    events_.clear();
  }
  consumer_ = nullptr;
}

Generation::Generation(Engine& engine, std::unique_ptr<Answer> answer, const ServerOptions& options,
                       std::shared_ptr<RequestRecord> record, asio::any_io_executor strand,
                       std::unique_ptr<ResumableStream> stream)
    : engine_(engine),
      id_(answer->setup().id),
      tenant_(answer->setup().tenant.empty() ? answer->params().user : answer->setup().tenant),
      cache_salt_(salt_of(answer->setup(), options)),
      prompts_(tokens_of(answer->setup().prompts)),
      answer_(std::move(answer)),
      stream_(std::move(stream)),
      record_(std::move(record)),
      buffer_limit_(options.stream_buffer_bytes),
      comment_period_(options.comment_period),
      strand_(std::move(strand)),
      wake_(strand_),
      begin_(std::chrono::steady_clock::now()) {}

Generation::~Generation() {
  for (const auto& inbox : inboxes_) inbox->close();
  for (const auto& [choice, window] : windows_) window.inbox->close();
  if (accepted_) count_tokens();
  if (!answer_->done()) record_->finish_reason = finish_name(FinishReason::abort);
  if (!answer_->done() || answer_->error()) cancel_all();
}

void Generation::cancel_all() {
  for (const RequestHandle handle : handles_) engine_.cancel(handle);
  for (const auto& [choice, window] : windows_) engine_.cancel(window.handle);
}

void Generation::note(const OutputEvent& event) {
  if (event.queue_seconds >= 0 && record_->queue_ms < 0) record_->queue_ms = event.queue_seconds * 1e3;
  if (!event.tokens.empty() && record_->ttft_ms < 0)
    record_->ttft_ms =
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - record_->arrival).count();
  if (event.finish) record_->finish_reason = finish_name(*event.finish);
}

void Generation::count_tokens() {
  const Answer::Counts counts = answer_->counts();
  record_->prompt_tokens = counts.prompt;
  record_->cached_tokens = counts.cached;
  record_->completion_tokens = counts.output;
}

Request Generation::request_of(std::vector<TokenId> prompt) const {
  const GenerationParams& params = answer_->params();
  Request request;
  request.id = id_;
  request.prompt = std::move(prompt);
  request.sampling = params.sampling;
  request.num_choices = params.num_choices;
  request.priority = params.priority;
  request.tenant = tenant_;
  request.cache_salt = cache_salt_;
  request.arrival = begin_;
  request.timeout = params.timeout;
  request.grammar = params.grammar;
  request.pooling = params.pooling;
  return request;
}

std::optional<RequestError> Generation::submit_window(Answer::NextWindow window) {
  const auto [prompt, choice] = window.of;
  Request request = request_of(std::move(window.prompt));
  request.num_choices = 1;
  request.sampling.max_tokens = window.max_tokens;
  request.sampling.min_tokens = window.min_tokens;
  request.sampling.seed = window.seed;
  return submit_alone(prompt, choice, std::move(request));
}

std::optional<RequestError> Generation::submit_alone(size_t prompt, int choice, Request request) {
  auto inbox = std::make_shared<TokenInbox>(strand_, [this, prompt, choice](OutputEvent event) {
    event.choice = choice;
    receive(prompt, std::move(event));
  });
  const auto handle = engine_.submit(std::move(request), inbox);
  if (handle.has_error()) return handle.error();
  windows_[{prompt, choice}] = {.handle = *handle, .inbox = std::move(inbox)};
  return std::nullopt;
}

std::optional<RequestError> Generation::submit_rest() {
  const GenerationParams& params = answer_->params();
  const auto num_choices = static_cast<size_t>(params.num_choices);
  std::vector<StoredChoice> choices = stream_->stored().choices;
  choices.resize(prompts_.size() * num_choices);
  std::set<size_t> ended;
  for (size_t i = 0; i < choices.size(); ++i) {
    const StoredChoice& stored = choices[i];
    if (stored.finish) ended.insert(i);
    for (size_t t = 0; t < stored.tokens.size(); ++t) {
      const bool is_last = t + 1 == stored.tokens.size();
      OutputEvent event{.choice = static_cast<int>(i % num_choices), .tokens = {{.token = stored.tokens[t]}}};
      if (is_last) event.finish = stored.finish;
      if (is_last) event.stop_token = stored.stop_token;
      const Answer::Effects effects = answer_->add(i / num_choices, std::move(event));
      write(effects);
      if (!effects.stop_choices.empty()) ended.insert(i);
    }
  }
  opening_ += std::exchange(buffer_, {});  // however much it is, it does not mean that the client is slow
  for (size_t i = 0; i < choices.size(); ++i) {
    if (ended.contains(i)) continue;
    const size_t prompt = i / num_choices;
    const auto choice = static_cast<int>(i % num_choices);
    Request request = request_of(prompts_[prompt]);
    request.num_choices = 1;
    request.first_choice = choice;
    request.output = std::move(choices[i].tokens);
    if (auto error = submit_alone(prompt, choice, std::move(request))) return error;
  }
  return std::nullopt;
}

std::optional<RequestError> Generation::submit_prompts() {
  while (handles_.size() < prompts_.size() && num_running_ < kMaxAtOnce) {
    const size_t i = handles_.size();
    Request request = request_of(prompts_[i]);
    if (prompts_.size() > 1) request.id += fmt::format("-{}", i);
    inboxes_.push_back(
        std::make_shared<TokenInbox>(strand_, [this, i](OutputEvent event) { receive(i, std::move(event)); }));
    const auto handle = engine_.submit(std::move(request), inboxes_.back());
    if (handle.has_error()) return handle.error();  // the destructor cancels the ones before
    handles_.push_back(*handle);
    ++num_running_;
  }
  return std::nullopt;
}

std::optional<RequestError> Generation::submit() {
  const GenerationParams& params = answer_->params();
  if (params.stream) opening_ = answer_->opening_events();
  if (stream_) opening_ = stream_->opening(opening_);
  const bool goes_on = stream_ && !stream_->stored().choices.empty();
  if (auto error = goes_on ? submit_rest() : submit_prompts()) return error;
  accepted_ = true;
  if (answer_->done()) end();
  record_->model = answer_->setup().model->name;
  record_->stream = params.stream;
  count_tokens();
  return std::nullopt;
}

void Generation::receive(size_t prompt, OutputEvent event) {
  if (ended_) return;
  const bool too_slow = buffer_.size() > buffer_limit_;  // without this event's: an answer's last may repeat all of it
  note(event);
  if (stream_)
    stream_->note(prompt * static_cast<size_t>(answer_->params().num_choices) + static_cast<size_t>(event.choice),
                  event);
  const bool makes_room = event.finish && num_running_ > 0 && handles_.size() < prompts_.size();
  Answer::Effects effects = answer_->add(prompt, std::move(event));
  for (const auto& [of, choice] : effects.stop_choices) {
    const auto window = windows_.find({of, choice});
    if (window == windows_.end()) {
      engine_.stop_choice(handles_[of], choice);
    } else {
      engine_.stop_choice(window->second.handle, 0);
    }
    record_->finish_reason = finish_name(FinishReason::stop);
  }
  for (Answer::NextWindow& window : effects.windows) {
    if (auto error = submit_window(std::move(window))) answer_->fail(std::move(*error));
  }
  if (makes_room) {
    --num_running_;
    auto error = submit_prompts();
    if (error && num_running_ == 0)
      answer_->fail(std::move(*error));  // else there is another try when the next one ends
  }
  write(effects);
  if (answer_->done()) end();
  if (too_slow) {
    log::debug("http: request {}: the client reads too slowly, {} bytes are waiting", id_, buffer_.size());
    ended_ = true;
    cancel_all();
    if (cut_off_) cut_off_();
  }
  wake();
}

void Generation::write(const Answer::Effects& effects) {
  if (answer_->params().stream) buffer_ += stream_ ? stream_->pieces(effects) : effects.events;
}

/// The answer is done.
void Generation::end() {
  if (answer_->refusal()) {
    log::info("http: request {}: {}", id_, *answer_->error());
  } else if (answer_->error()) {
    log::error("http: request {}: {}", id_, *answer_->error());
  }
  if (answer_->params().stream) end_stream();
  ended_ = true;
}

/// Once for all events that come before the one that waits has its turn.
void Generation::wake() {
  if (std::exchange(waits_, false)) wake_.cancel();
}

void Generation::end_stream() {
  if (answer_->error()) {
    buffer_ += answer_->error_events(answer_->refusal().value_or(internal_error(id_)));
  } else {
    const std::string events = answer_->closing_events();
    buffer_ += stream_ ? stream_->closing(events) : events;
  }
}

asio::awaitable<std::string> Generation::next() {
  if (!opening_.empty()) co_return std::exchange(opening_, {});
  for (;;) {  // every turn follows an event, the comment period, or a cancellation (which throws)
    if (!buffer_.empty()) co_return std::exchange(buffer_, {});
    if (ended_) co_return std::string();
    if (comment_period_.count() > 0) {
      wake_.expires_after(comment_period_);
    } else {
      wake_.expires_at(asio::steady_timer::time_point::max());
    }
    waits_ = true;
    const auto [error] = co_await wake_.async_wait(kAwait);
    waits_ = false;
    if (!error && buffer_.empty() && !ended_) co_return std::string(kComment);
  }
}

asio::awaitable<RequestResult<boost::json::object>> Generation::whole() {
  while (!ended_) {
    wake_.expires_at(asio::steady_timer::time_point::max());
    waits_ = true;
    co_await wake_.async_wait(kAwait);
    waits_ = false;
  }
  if (answer_->error()) co_return answer_->refusal().value_or(internal_error(id_));
  co_return answer_->body();
}

}  // namespace echelon
