// One request between the engine and its session: submits, receives tokens on the session's strand, and is the source
// of a streamed body. Ends with its session: what still runs in the engine is cancelled then.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "frontend/http/message.h"
#include "frontend/http/options.h"
#include "frontend/journal/resumable_stream.h"
#include "frontend/openai/answer.h"

namespace echelon {

/// Takes the events of one prompt from the engine's thread to the strand. Owners: the engine until the request has
/// ended, and the Generation until it is destroyed.
class TokenInbox final : public RequestListener, public std::enable_shared_from_this<TokenInbox> {
 public:
  using Consumer = std::function<void(OutputEvent)>;

  TokenInbox(boost::asio::any_io_executor strand, Consumer consumer);
  /// The engine's thread. Takes a lock that is never held for longer than a push.
  void on_output(OutputEvent event) noexcept override;
  /// On the strand: nothing is delivered any more, and the strand may go away.
  void close();

 private:
  void deliver();

  std::mutex mutex_;  ///< guards the three below
  std::optional<boost::asio::any_io_executor> strand_;
  std::vector<OutputEvent> events_;
  bool posted_ = false;
  Consumer consumer_;                   ///< on the strand only
  std::vector<OutputEvent> delivered_;  ///< likewise; empty between two deliveries, its memory is kept
};

/// Prompts of one request that are in the engine at the same time; the rest follow as they end (embeddings).
inline constexpr size_t kMaxAtOnce = 128;

class Generation final : public BodySource {
 public:
  /// On the strand. `engine` must outlive this. Keeps the counts of `record`. `stream` is null when it is not kept.
  Generation(Engine& engine, std::unique_ptr<Answer> answer, const ServerOptions& options,
             std::shared_ptr<RequestRecord> record, boost::asio::any_io_executor strand,
             std::unique_ptr<ResumableStream> stream = nullptr);
  ~Generation() override;

  /// The first kMaxAtOnce prompts, or none. Of a stream that goes on: its choices that have not ended.
  std::optional<RequestError> submit();
  /// Until every choice has ended. The body, or a RequestError when the engine failed.
  boost::asio::awaitable<RequestResult<boost::json::object>> whole();

  boost::asio::awaitable<std::string> next() override;
  void on_overflow(std::function<void()> cut_off) override { cut_off_ = std::move(cut_off); }

 private:
  void receive(size_t prompt, OutputEvent event);
  void end();
  void end_stream();
  /// What the effects bring to the client.
  void write(const Answer::Effects& effects);
  void cancel_all();
  Request request_of(std::vector<TokenId> prompt) const;
  /// The answer takes the tokens that are stored, and the engine goes on behind them.
  std::optional<RequestError> submit_rest();
  /// A choice in a request of its own; what was there before has ended.
  std::optional<RequestError> submit_alone(size_t prompt, int choice, Request request);
  /// As many of the prompts as may be in the engine at once.
  std::optional<RequestError> submit_prompts();
  /// A choice goes on in a request of its own.
  std::optional<RequestError> submit_window(Answer::NextWindow window);
  void note(const OutputEvent& event);  ///< into the record
  void count_tokens();                  ///< likewise
  void wake();

  Engine& engine_;
  const std::string id_;
  const std::string tenant_, cache_salt_;
  const std::vector<std::vector<TokenId>> prompts_;
  std::unique_ptr<Answer> answer_;
  const std::unique_ptr<ResumableStream> stream_;
  const std::shared_ptr<RequestRecord> record_;
  const size_t buffer_limit_;
  const std::chrono::milliseconds comment_period_;
  boost::asio::any_io_executor strand_;
  boost::asio::steady_timer wake_;  ///< cancelled when there is something to do
  bool waits_ = false;              ///< on wake_
  std::vector<std::shared_ptr<TokenInbox>> inboxes_;
  std::vector<RequestHandle> handles_;  ///< of the prompts that were submitted
  size_t num_running_ = 0;              ///< of these, where there are more than kMaxAtOnce
  bool accepted_ = false;
  struct Window {
    RequestHandle handle = 0;
    std::shared_ptr<TokenInbox> inbox;
  };
  std::map<std::pair<size_t, int>, Window> windows_;   ///< of a prompt's choice that is not in its prompt's request
  const std::chrono::steady_clock::time_point begin_;  ///< a timeout counts from it
  std::string opening_;                                ///< events of before the first token, until they are written
  std::string buffer_;  ///< events that are not written yet; at most stream_buffer_bytes and what came last
  std::function<void()> cut_off_;
  bool ended_ = false;  ///< nothing will be added to buffer_
};

}  // namespace echelon
