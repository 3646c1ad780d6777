// The session's coroutines. A request's life: read_request, then answer (handler and writing) beside watch_client; the
// one that ends first cancels the other.
#include "frontend/http/session.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/bind_handler.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <ctime>

#include "frontend/http/framing.h"
#include "frontend/http/header_scan.h"
#include "frontend/refusals.h"
#include "kernels/base/log.h"

namespace echelon {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr size_t kReadBytes = 16 << 10;              ///< asked of the socket at once
constexpr size_t kIdleReadBytes = 1 << 10;           ///< likewise, of a connection that may be idle for long
constexpr size_t kSlowestBytesPerSecond = 64 << 10;  ///< a large body may take size / this longer
constexpr int kMaxLingerReads = 4096;                ///< 64 MiB
/// How often a client that is not read from is looked at: whether it has left.
constexpr auto kLookPeriod = std::chrono::milliseconds(50);

std::string http_date() {
  std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  return fmt::format("{:%a, %d %b %Y %H:%M:%S} GMT", utc);
}

/// Status line and fields, without the ones that say where the body ends.
std::string header_text(const HttpResponse& response, unsigned version, bool keep) {
  const auto status = static_cast<http::status>(response.status);
  const auto reason = http::obsolete_reason(status);
  std::string text =
      fmt::format("HTTP/1.{} {} {}\r\nServer: echelon\r\nDate: {}\r\nConnection: {}\r\n", version % 10, response.status,
                  std::string_view(reason.data(), reason.size()), http_date(), keep ? "keep-alive" : "close");
  if (!response.content_type.empty()) text += fmt::format("Content-Type: {}\r\n", response.content_type);
  for (const auto& [name, value] : response.fields) text += fmt::format("{}: {}\r\n", name, value);
  return text;
}

template <typename Name>
std::string field_value(const RequestHeader& header, Name name) {
  return std::string(header[name]);
}

}  // namespace

Session::Session(StreamSocket socket, asio::ssl::context* tls, ServerState& state, Admission::Ticket ticket)
    : stream_(std::move(socket), tls),
      buffer_(state.options.header_bytes + state.options.pipelined_bytes + kReadBytes),
      state_(state),
      ticket_(std::move(ticket)),
      peer_(peer_text(stream_.socket())) {
  state_.metrics.connections.fetch_add(1);
}

Session::~Session() {
  ticket_.reset();  // before it counts as closed
  state_.metrics.connections.fetch_sub(1);
  const std::lock_guard lock(state_.mutex);
  state_.sessions.erase(this);
}

void Session::start() {
  {
    const std::lock_guard lock(state_.mutex);
    state_.sessions.emplace(this, weak_from_this());
  }
  asio::co_spawn(
      stream_.get_executor(), [self = shared_from_this()] { return self->run(); }, asio::detached);
}

void Session::start_refusing(RequestError error) {
  {
    const std::lock_guard lock(state_.mutex);
    state_.sessions.emplace(this, weak_from_this());
  }
  asio::co_spawn(
      stream_.get_executor(),
      [self = shared_from_this(), error = std::move(error)] { return self->run_refusing(error); }, asio::detached);
}

void Session::close() {
  asio::post(stream_.get_executor(), [self = shared_from_this()] { self->stream_.close(); });
}

asio::awaitable<void> Session::run() {
  const auto self = shared_from_this();
  if (co_await begin()) co_await serve();
  co_await end();
}

/// Ends with the connection; idle_timeout bounds every turn without a request.
asio::awaitable<void> Session::serve() {
  for (;;) {
    BodyReservation reservation(state_);
    Incoming incoming = co_await read_request(reservation);
    if (incoming.error) {
      log::debug("http: refused with {}: {}", incoming.error->http_status, incoming.error->message);
      co_await refuse(std::move(incoming));
      co_return;
    }
    if (!incoming.request) co_return;
    if (!co_await answer_guarded(std::move(incoming))) co_return;
  }
}

asio::awaitable<bool> Session::begin() {
  stream_.expires_after(state_.options.handshake_timeout);
  const Handshake handshake = co_await stream_.shake_hands();
  if (handshake == Handshake::spoke_http) {
    Incoming incoming;
    incoming.error = http_refusal(400, "this port speaks HTTP over TLS alone: use https://", "tls_required");
    co_await refuse(std::move(incoming));
  }
  co_return handshake == Handshake::done;
}

asio::awaitable<void> Session::end() {
  stream_.expires_after(state_.options.linger_timeout);
  co_await stream_.end();
  stream_.close();
}

asio::awaitable<void> Session::run_refusing(RequestError error) {
  const auto self = shared_from_this();
  if (co_await begin()) {
    Incoming incoming;
    incoming.error = std::move(error);
    co_await refuse(std::move(incoming));
  }
  co_await end();
}

asio::awaitable<void> Session::refuse(Incoming incoming) {
  HttpResponse response = state_.handler.refusal(*incoming.error, incoming.path);
  response.close = true;
  if (co_await write(std::move(response), incoming)) co_await linger();
}

asio::awaitable<bool> Session::wait_for_first_byte() {
  if (buffer_.size() > 0) co_return true;
  buffer_.shrink_to_fit();  // an idle connection keeps nothing of the request before
  stream_.expires_after(state_.options.idle_timeout);
  const auto [error, count] = co_await stream_.async_read_some(buffer_.prepare(kIdleReadBytes), kAwait);
  buffer_.commit(count);
  co_return !error;
}

asio::awaitable<bool> Session::read_header(RequestParser& parser, Incoming& incoming) {
  HeaderScan scan;
  stream_.expires_after(state_.options.header_timeout);
  for (;;) {  // at most header_bytes, header_timeout
    const auto bytes = buffer_.cdata();
    const auto result = scan.next({static_cast<const char*>(bytes.data()), bytes.size()});
    if (result == HeaderScan::Result::refused) incoming.error = malformed(scan.fault());
    if (!incoming.error && scan.end() > state_.options.header_bytes)
      incoming.error = header_too_long(scan.line_complete(), state_.options);
    if (incoming.error) co_return false;
    if (result == HeaderScan::Result::complete) break;
    const auto [error, count] = co_await stream_.async_read_some(buffer_.prepare(kReadBytes), kAwait);
    buffer_.commit(count);
    if (error) co_return false;
  }
  buffer_.consume(scan.begin());
  parser.header_limit(static_cast<std::uint32_t>(state_.options.header_bytes));
  parser.body_limit(boost::none);  // it depends on the header
  beast::error_code error;
  buffer_.consume(parser.put(buffer_.data(), error));
  if (error) incoming.error = refusal_of(error, state_.options, 0);
  co_return !error;
}

asio::awaitable<bool> Session::read_body(RequestParser& parser, const HttpRequest& request, Incoming& incoming,
                                         BodyReservation& reservation) {
  const size_t body_limit = state_.handler.body_limit(request), length = parser.content_length().value_or(0);
  if (length > body_limit) {
    incoming.error = refusal_of(http::error::body_limit, state_.options, body_limit);
    co_return false;
  }
  ChunkExtensions extensions(state_.options.header_bytes);
  auto on_chunk = [&](uint64_t, std::string_view text, beast::error_code& error) { error = extensions.add(text); };
  parser.on_chunk_header(on_chunk);
  parser.body_limit(body_limit);
  parser.eager(true);  // all chunks that came at a time: with a turn of the loop for each a byte costs microseconds
  stream_.expires_after(state_.options.body_timeout + std::chrono::seconds(length / kSlowestBytesPerSecond));
  if (expects_continue(parser.get().base()) && !parser.is_done()) {
    const std::string line = "HTTP/1.1 100 Continue\r\n\r\n";
    const auto [error, count] = co_await asio::async_write(stream_, asio::buffer(line), kAwait);
    if (error) co_return false;
    state_.metrics.count_response(100);
  }
  while (!parser.is_done()) {  // at most body_limit, body_timeout
    const auto [error, count] = co_await http::async_read_some(stream_, buffer_, parser, kAwait);
    if (error) {
      incoming.error = refusal_of(error, state_.options, body_limit);
      co_return false;
    }
    if (!reservation.grow_to(parser.get().body().size())) {
      incoming.error = unavailable("too many large requests at once; try again", "overloaded", 1);
      co_return false;
    }
  }
  co_return true;
}

asio::awaitable<Session::Incoming> Session::read_request(BodyReservation& reservation) {
  Incoming incoming;
  if (!co_await wait_for_first_byte()) co_return incoming;
  RequestParser parser;
  if (!co_await read_header(parser, incoming)) co_return incoming;
  const auto& header = parser.get();
  incoming.version = header.version();
  incoming.keep_alive = header.keep_alive();
  incoming.is_head = header.method() == http::verb::head;
  incoming.error = check_framing(header.base(), state_.options);
  if (incoming.error) co_return incoming;

  HttpRequest request;
  request.id = fmt::format("{:016x}", state_.id_salt + state_.next_request.fetch_add(1));
  request.method = std::string(header.method_string());
  request.authorization = field_value(header.base(), http::field::authorization);
  request.api_key = field_value(header.base(), "x-api-key");
  request.origin = field_value(header.base(), http::field::origin);
  request.last_event_id = field_value(header.base(), "last-event-id");
  request.content_type = field_value(header.base(), http::field::content_type);
  request.asks_preflight = header.find(http::field::access_control_request_method) != header.end();
  const auto path = path_of(header.target());
  if (!path) {
    incoming.error = malformed("its target is neither a path nor an http URL");
    co_return incoming;
  }
  request.path = incoming.path = *path;
  request.query = query_of(header.target());
  if (!co_await read_body(parser, request, incoming, reservation)) co_return incoming;
  request.body = std::move(parser.get().body());
  incoming.request = std::move(request);
  co_return incoming;
}

void Session::begin_record(RequestRecord& record, const HttpRequest& request) const {
  record.id = request.id;
  record.client = peer_;
  record.method = request.method;
  record.path = request.path;
  if (!state_.options.request_log_text) return;
  record.request_text = request.body.substr(0, state_.options.logged_text_bytes);
  record.response_text.emplace();
}

void Session::log_text(std::string_view text) {
  if (record_ == nullptr || !record_->response_text) return;
  std::string& logged = *record_->response_text;
  logged +=
      text.substr(0, state_.options.logged_text_bytes - std::min(logged.size(), state_.options.logged_text_bytes));
}

asio::awaitable<bool> Session::answer_guarded(Incoming incoming) {
  using namespace asio::experimental::awaitable_operators;
  const CountScope in_flight(state_.metrics.in_flight);
  const std::string id = incoming.request->id;
  const auto record = incoming.request->record;
  begin_record(*record, *incoming.request);
  record_ = record.get();
  answer_complete_ = false;
  auto first = co_await (answer(std::move(incoming)) || watch_client());
  record_ = nullptr;
  record->total_ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - record->arrival).count();
  state_.handler.finished(*record);
  // Who left just now is not waited for: Asio tells of the end of a stream once, and the next read would not end.
  if (answer_complete_) co_return !client_left_ && first.index() == 0 && std::get<0>(first);
  state_.metrics.clients_left.fetch_add(1);
  log::debug("http: {}: the client left before its answer was complete", id);
  co_return false;
}

/// Never throws: an exception would leave watch_client waiting.
asio::awaitable<bool> Session::answer(Incoming incoming) {
  const auto begin = std::chrono::steady_clock::now();
  const std::string id = incoming.request->id;
  const std::string path = incoming.request->path, what = incoming.request->method + " " + path;
  const auto cancellation = co_await asio::this_coro::cancellation_state;
  HttpResponse response;
  try {
    response = co_await state_.handler.handle(std::move(*incoming.request));
  } catch (const std::exception& fault) {
    if (cancellation.cancelled() != asio::cancellation_type::none) co_return false;
    log::error("http: {} {}: {}", id, what, fault.what());
    response = state_.handler.refusal(internal_error(id), path);
  }
  response.fields.emplace_back("x-request-id", id);
  const int status = response.status;
  bool keep = false;
  try {
    keep = co_await write(std::move(response), incoming);
  } catch (const std::exception& fault) {
    if (cancellation.cancelled() == asio::cancellation_type::none)
      log::error("http: {} {}: while answering: {}", id, what, fault.what());
    co_return false;
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  log::debug("http: {} {} -> {} in {:.4f} s", id, what, status, seconds);
  co_return keep;
}

/// Returns when the client has left. Bytes of later requests are kept for read_request.
asio::awaitable<void> Session::watch_client() {
  co_await asio::this_coro::throw_if_cancelled(false);
  const auto cancellation = co_await asio::this_coro::cancellation_state;
  asio::steady_timer pause(stream_.get_executor());
  // Ends with the connection, or when the answer is complete: a read may have ended (the next request is there) just
  // before it was to be cancelled, and another one would wait for bytes that the client sends only after our answer.
  while (!answer_complete_ && cancellation.cancelled() == asio::cancellation_type::none) {
    if (buffer_.size() >= state_.options.pipelined_bytes) {  // what more there is stays unread, and the end behind it
      if (stream_.has_ended()) co_return;
      pause.expires_after(kLookPeriod);
      co_await pause.async_wait(kAwait);
      continue;
    }
    stream_.expires_never();
    const auto [error, count] = co_await stream_.async_read_some(buffer_.prepare(kReadBytes), kAwait);
    buffer_.commit(count);
    client_left_ = error && error != asio::error::operation_aborted;
    if (error) co_return;
  }
}

asio::awaitable<bool> Session::write(HttpResponse response, const Incoming& incoming) {
  const bool keep = incoming.keep_alive && !response.close && !state_.draining.load();
  state_.metrics.count_response(response.status);
  if (record_ != nullptr) record_->status = response.status;
  if (response.source) co_return co_await write_stream(std::move(response), incoming, keep);
  std::string text = header_text(response, incoming.version, keep);
  if (response.status != 204) text += fmt::format("Content-Length: {}\r\n", response.body.size());
  text += "\r\n";
  if (!incoming.is_head && response.status != 204) text += response.body;
  log_text(response.body);
  const bool written = co_await write_bytes(text);
  answer_complete_ = written;
  if (written && incoming.error) co_return true;  // refuse() lingers
  co_return written&& keep;
}

asio::awaitable<bool> Session::write_stream(HttpResponse response, const Incoming& incoming, bool keep) {
  const bool chunked = incoming.version >= 11;
  keep = keep && chunked;
  response.source->on_overflow([this] {
    state_.metrics.slow_readers_cut.fetch_add(1);
    stream_.close();
  });
  std::string text = header_text(response, incoming.version, keep);
  text += chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n";
  if (!co_await write_bytes(text)) co_return false;
  for (;;) {  // ends with the source, or with the connection
    std::string piece = co_await response.source->next();
    if (piece.empty()) break;
    log_text(piece);
    if (chunked) piece = fmt::format("{:x}\r\n{}\r\n", piece.size(), piece);  // no temporaries in co_await: g++ 12
    if (!co_await write_bytes(piece)) co_return false;
  }
  if (chunked && !co_await write_bytes("0\r\n\r\n")) co_return false;
  answer_complete_ = true;
  co_return keep;
}

asio::awaitable<bool> Session::write_bytes(std::string_view bytes) {
  bytes.remove_prefix(stream_.write_now(bytes));  // nearly always all: no timer, no turn through the loop
  if (bytes.empty()) co_return true;
  const auto extra = std::chrono::seconds(bytes.size() / kSlowestBytesPerSecond);
  stream_.expires_after(state_.options.write_timeout + extra);
  const auto [error, count] = co_await asio::async_write(stream_, asio::buffer(bytes), kAwait);
  co_return !error;
}

/// After a refusal the client may still be sending: closing now would reset the connection under our answer.
asio::awaitable<void> Session::linger() {
  beast::error_code ignored;
  if (!stream_.has_tls()) stream_.socket().shutdown(asio::socket_base::shutdown_send, ignored);
  stream_.expires_after(state_.options.linger_timeout);
  buffer_.clear();
  for (int i = 0; i < kMaxLingerReads; ++i) {
    const auto [error, count] = co_await stream_.async_read_some(buffer_.prepare(kReadBytes), kAwait);
    if (error) co_return;
  }
}

}  // namespace echelon
