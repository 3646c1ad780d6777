// One connection: reads a request, lets the handler answer it, writes the answer, and again. Requests that arrive
// early (pipelining) wait in order. While a request runs a read is pending, so that a client that leaves is noticed.
// Everything runs on the connection's strand, except close().
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/strand.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "frontend/http/connection.h"
#include "frontend/http/server_state.h"

namespace echelon {

class Session : public std::enable_shared_from_this<Session> {
 public:
  /// The socket's executor is the session's strand. `tls` as Connection takes it. `state` must outlive the session.
  Session(StreamSocket socket, boost::asio::ssl::context* tls, ServerState& state, Admission::Ticket ticket);
  ~Session();

  /// Starts reading; the session keeps itself alive until the connection ends.
  void start();
  /// Any thread: ends the connection at once, and cancels what runs on it.
  void close();
  /// Instead of start(): answers whatever comes with `error` and ends.
  void start_refusing(RequestError error);

 private:
  using RequestParser = boost::beast::http::request_parser<boost::beast::http::string_body>;
  struct Incoming {
    std::optional<HttpRequest> request;
    std::optional<RequestError> error;  ///< neither: the client has left
    std::string path;                   ///< as far as it is known
    unsigned version = 11;
    bool keep_alive = true;
    bool is_head = false;
  };

  boost::asio::awaitable<void> run();
  boost::asio::awaitable<void> run_refusing(RequestError error);
  boost::asio::awaitable<bool> begin();  ///< false: the connection has to end
  boost::asio::awaitable<void> serve();
  boost::asio::awaitable<void> end();
  boost::asio::awaitable<void> refuse(Incoming incoming);  ///< with its error
  boost::asio::awaitable<Incoming> read_request(BodyReservation& reservation);
  /// Into `parser`. False: `incoming` has the error, or the client has left.
  boost::asio::awaitable<bool> read_header(RequestParser& parser, Incoming& incoming);
  boost::asio::awaitable<bool> read_body(RequestParser& parser, const HttpRequest& request, Incoming& incoming,
                                         BodyReservation& reservation);
  boost::asio::awaitable<bool> wait_for_first_byte();
  boost::asio::awaitable<bool> answer(Incoming incoming);
  boost::asio::awaitable<bool> answer_guarded(Incoming incoming);
  boost::asio::awaitable<void> watch_client();
  boost::asio::awaitable<bool> write(HttpResponse response, const Incoming& incoming);
  boost::asio::awaitable<bool> write_stream(HttpResponse response, const Incoming& incoming, bool keep);
  void begin_record(RequestRecord& record, const HttpRequest& request) const;
  void log_text(std::string_view text);
  boost::asio::awaitable<bool> write_bytes(std::string_view bytes);
  boost::asio::awaitable<void> linger();

  Connection stream_;
  boost::beast::flat_buffer buffer_;
  ServerState& state_;
  std::optional<Admission::Ticket> ticket_;
  const std::string peer_;
  RequestRecord* record_ = nullptr;  ///< of the request that runs
  bool answer_complete_ = false;     ///< of the request that runs
  bool client_left_ = false;         ///< there is nothing more to read
};

}  // namespace echelon
