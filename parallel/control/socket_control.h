// The control channel over sockets: a star with rank 0 in the middle, one thread per rank, mutual proof of the job's
// secret before anything else. End-of-file on a connection is a loss at once; silence is one after a time.
#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "kernels/base/error.h"
#include "parallel/control/frame.h"
#include "parallel/control/secret.h"
#include "parallel/control/wire.h"
#include "parallel/control_channel.h"

namespace echelon {

/// Silence is counted in this rank's own heartbeats: a rank that was itself stopped or starved accuses nobody.
/// On one host a dead process shows as end-of-file in milliseconds, so that dead_after_ms only has to catch one that
/// hangs; it is 3 s because a heartbeat thread may be late by hundreds of milliseconds where ranks outnumber cores.
struct ControlTimes {
  int heartbeat_ms = 100;
  int suspect_after_ms = 500;  ///< logged once
  int dead_after_ms = 3'000;
  int connect_within_ms = 30'000;   ///< until all ranks are there
  int handshake_within_ms = 5'000;  ///< of one connection, for strangers too

  static ControlTimes one_host() { return {}; }
  /// A lost packet costs TCP 200 ms, a cut of 1.5 s about 3 s of silence: its pauses double. Late heartbeats make up to
  /// 5 s of the 4.
  static ControlTimes between_hosts() { return {.suspect_after_ms = 1'500, .dead_after_ms = 4'000}; }
};

struct ControlIdentity {
  int rank = 0, size = 1;
  uint64_t job_id = 0;
  JobSecret secret{};
};

inline constexpr int64_t kMaxQueuedBytes = int64_t{64}
                                           << 20;  ///< to one rank; more means that it does not read: it is lost

/// What both ends share: connections, queues, heartbeats, goodbye. Rank 0's listener and a worker's connect are in the
/// subclasses.
class SocketControl : public ControlChannel {
 public:
  ~SocketControl() override;
  /// Returns when every rank is connected (rank 0) or when rank 0 has accepted this one. Messages may be handed to the
  /// handlers before. Throws Error(Part::parallel) naming who is missing or why it was refused.
  void start(Handlers handlers) override;
  void send(int rank, ControlMessage message) override;
  void drop(int rank, const std::string& reason) override;
  /// May be called by a handler; then the thread ends by itself and the destructor waits for it.
  void close() override;

 protected:
  struct Connection {
    std::unique_ptr<Wire> wire;
    FrameDecoder decoder;
    std::vector<ControlMessage> received;  // decoded, not yet handled
    std::vector<std::byte> outgoing;       // encoded, not yet given to the socket
    int rank = -1;
    int silence_ms = 0;
    bool writing = false, sent_since_tick = false, suspected = false;
    bool departed = false;  // it said goodbye
    bool lost = false;
    bool ended = false;  // its reading loop has returned
    Connection(std::unique_ptr<Wire> its_wire, uint64_t job_id)
        : wire(std::move(its_wire)), decoder(job_id, kMaxHandshakePayloadBytes) {}
  };
  using ConnectionPtr = std::shared_ptr<Connection>;  // owners: peers_, and the coroutines that work on it

  SocketControl(ControlIdentity identity, ControlTimes times);
  /// Called on the channel's thread at start: begins to listen or to connect.
  virtual boost::asio::awaitable<void> open() = 0;
  virtual void stop_opening() {}
  virtual std::string describe_missing() const = 0;  // called with mutex_ held
  virtual void report_loss(int rank, const std::string& reason) { handlers_.on_lost(rank, reason); }

  /// The next message of a connection still in its handshake. Throws HandshakeError.
  boost::asio::awaitable<ControlMessage> next_message(Connection& connection);
  boost::asio::awaitable<void> write_hello(Connection& connection, std::vector<std::byte> payload);
  /// From now on the connection belongs to `rank`.
  void adopt(ConnectionPtr connection, int rank);
  void refuse_start(const std::string& reason);
  bool is_closing() const { return closing_; }

  boost::asio::io_context io_{1};
  Handlers handlers_;
  const ControlIdentity identity_;
  const ControlTimes times_;
  std::mutex mutex_;  // guards the three below
  std::condition_variable opened_;
  std::vector<bool> was_connected_;
  std::string refused_;
  std::vector<ConnectionPtr> peers_;  // channel's thread; by rank, null while not connected

 private:
  boost::asio::awaitable<void> read_loop(ConnectionPtr connection);
  boost::asio::awaitable<void> write_loop(ConnectionPtr connection);
  boost::asio::awaitable<void> heartbeats();
  boost::asio::awaitable<void> say_goodbye();
  void handle(Connection& connection, ControlMessage message);
  void enqueue(ConnectionPtr connection, std::vector<std::byte> frame);
  void lose(const ConnectionPtr& connection, const std::string& reason);
  void tick(const ConnectionPtr& connection);
  bool all_opened() const;  // mutex_ held

  std::vector<std::atomic<int64_t>> num_queued_bytes_;  // by rank, from send() until given to the socket
  std::atomic<bool> started_{false}, close_called_{false};
  bool closing_ = false;  // channel's thread
  std::mutex join_mutex_;
  std::thread thread_;
};

struct ControlEndpoint {
  std::string ip_address;  ///< empty: Unix socket on this host
};

/// Rank 0's end. Listens from construction on, so that its address can be told to the workers before start().
class FrontControl : public SocketControl {
 public:
  FrontControl(ControlIdentity identity, ControlTimes times, const ControlEndpoint& endpoint);
  ~FrontControl() override;
  const std::string& address() const { return address_; }

 private:
  boost::asio::awaitable<void> open() override;
  void stop_opening() override;
  std::string describe_missing() const override;
  boost::asio::awaitable<void> receive_worker(ConnectionPtr connection);
  boost::asio::awaitable<void> authenticate(ConnectionPtr connection);

  std::unique_ptr<WireListener> listener_;
  std::string address_;
  std::vector<bool> is_taken_;  // channel's thread; ranks that have proved themselves, once and for all
  int num_in_handshake_ = 0;
};

/// A worker's end.
class WorkerControl : public SocketControl {
 public:
  WorkerControl(ControlIdentity identity, ControlTimes times, std::string front_address);
  ~WorkerControl() override;

 private:
  boost::asio::awaitable<void> open() override;
  std::string describe_missing() const override;
  void report_loss(int rank, const std::string& reason) override;
  boost::asio::awaitable<void> find_out(std::string reason);
  boost::asio::awaitable<void> connect_once();
  boost::asio::awaitable<void> authenticate(Connection& connection);

  const std::string front_address_;
  std::string last_error_;  // guarded by mutex_
};

/// The other side did not prove that it belongs to the job, or stopped half-way.
class HandshakeError : public Error {
 public:
  using Error::Error;
};

/// "connection refused" and the like, from any exception of a socket or of a handshake.
std::string describe_exception(const std::exception_ptr& error);

}  // namespace echelon
