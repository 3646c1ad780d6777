// Connections are kept and used again, as HTTP clients do; a new one's making counts as time of its first request.
#include "launch/bench/load.h"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <cmath>
#include <csignal>
#include <memory>
#include <random>
#include <utility>

#include "kernels/base/error.h"
#include "launch/client/event_stream.h"
#include "launch/client/http_exchange.h"

namespace echelon {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace json = boost::json;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kLongestSilence{600};
constexpr std::chrono::seconds kAnswerTimeout{10};
constexpr int kFirstToken = 1000, kLastToken = 19'999;  // in the vocabulary of every model, and no special ones

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

class LoadRun {
 public:
  LoadRun(const BenchLoad& load, const std::function<void(int)>& on_done) : load_(load), on_done_(on_done) {}

  LoadResult run() {
    asio::ip::tcp::resolver resolver(io_);
    boost::system::error_code error;
    addresses_ = resolver.resolve(load_.server.host, load_.server.port, error);
    if (error) throw Error(Part::launch, fmt::format("{}: {}", load_.server.text, error.message()));
    asio::signal_set interrupts(io_, SIGINT);
    interrupts.async_wait([this](const boost::system::error_code& fault, int) {
      if (fault) return;
      result_.interrupted = true;
      io_.stop();
    });
    begin_ = Clock::now();
    if (load_.rate > 0) {
      asio::co_spawn(io_, arrive(interrupts), asio::detached);
    } else {
      const int clients = std::min(load_.clients, load_.num_requests);
      for (int i = 0; i < clients; ++i) asio::co_spawn(io_, client(interrupts), asio::detached);
    }
    io_.run();
    return std::move(result_);
  }

 private:
  using Stream = std::unique_ptr<beast::tcp_stream>;

  asio::awaitable<void> client(asio::signal_set& interrupts) {
    while (next_ < load_.num_requests) co_await ask(next_++, interrupts);
  }

  asio::awaitable<void> arrive(asio::signal_set& interrupts) {
    std::mt19937_64 random(load_.seed);
    std::exponential_distribution<double> gap(load_.rate);
    asio::steady_timer timer(io_);
    double at = 0;
    for (; next_ < load_.num_requests; at += gap(random)) {
      timer.expires_at(begin_ + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(at)));
      co_await timer.async_wait(asio::use_awaitable);
      asio::co_spawn(io_, ask(next_++, interrupts), asio::detached);
    }
  }

  asio::awaitable<void> ask(int index, asio::signal_set& interrupts) {
    const auto begin = Clock::now();
    SampleReader reader;
    for (bool again = true; again;) {
      Stream stream;
      const bool reused = !idle_.empty();
      if (reused) {
        stream = std::move(idle_.back());
        idle_.pop_back();
      }
      bool answered = false;
      try {
        if (!reused) stream = co_await connected();
        const bool keeps = co_await exchange(*stream, index, begin, reader, answered);
        if (keeps) idle_.push_back(std::move(stream));
        again = false;
      } catch (const std::exception& fault) {
        again = reused && !answered;  // the server may have closed it meanwhile
        if (!again) reader.sample.error = fault.what();
      }
    }
    reader.sample.latency_s = seconds_since(begin);
    result_.samples.push_back(std::move(reader.sample));
    result_.seconds = seconds_since(begin_);
    on_done_(static_cast<int>(result_.samples.size()));
    if (static_cast<int>(result_.samples.size()) == load_.num_requests) interrupts.cancel();
  }

  asio::awaitable<Stream> connected() {
    Stream stream = std::make_unique<beast::tcp_stream>(io_);
    stream->expires_after(kAnswerTimeout);
    co_await stream->async_connect(addresses_, asio::use_awaitable);
    stream->socket().set_option(asio::ip::tcp::no_delay(true));
    co_return std::move(stream);
  }

  /// True when the connection can be used again.
  asio::awaitable<bool> exchange(beast::tcp_stream& stream, int index, Clock::time_point begin, SampleReader& reader,
                                 bool& answered) {
    EventStream events;
    PostEnd end = co_await exchange_post(
        stream, load_.server, "/v1/completions", load_.api_key, completion_body(load_, index), true, kLongestSilence,
        [&] { answered = true; },
        [&](std::string_view bytes) {
          for (const std::string& data : events.feed(bytes)) reader.take(data, seconds_since(begin));
        });
    if (!end.refusal.empty()) reader.sample.error = std::move(end.refusal);
    co_return end.keeps;
  }

  const BenchLoad& load_;
  const std::function<void(int)>& on_done_;
  asio::io_context io_{1};
  asio::ip::tcp::resolver::results_type addresses_;
  std::vector<Stream> idle_;
  Clock::time_point begin_;
  int next_ = 0;
  LoadResult result_;
};

}  // namespace

void SampleReader::take(std::string_view data, double seconds) {
  if (data == "[DONE]") return;
  boost::system::error_code fault;
  const json::value chunk = json::parse(data, fault);
  if (fault || !chunk.is_object()) {
    sample.error = "an event that is no JSON object";
    return;
  }
  if (chunk.get_object().contains("error")) sample.error = json::serialize(chunk.at("error"));
  const auto count_at = [&](std::string_view pointer, int64_t& count) {
    const json::value* value = chunk.find_pointer(pointer, fault);
    if (value != nullptr && value->is_int64()) count = value->get_int64();
  };
  count_at("/usage/prompt_tokens", sample.prompt_tokens);
  count_at("/usage/completion_tokens", sample.output_tokens);
  const json::value* text = chunk.find_pointer("/choices/0/text", fault);
  if (text == nullptr || !text->is_string() || text->get_string().empty()) return;
  if (last_s_ < 0) {
    sample.ttft_s = seconds;
  } else {
    sample.itls_s.push_back(seconds - last_s_);
  }
  last_s_ = seconds;
}

LoadResult run_load(const BenchLoad& load, const std::function<void(int done)>& on_done) {
  return LoadRun(load, on_done).run();
}

std::string served_model(const ServerAddress& server, const std::string& api_key) {
  const std::string body = http_get(server, "/v1/models", api_key, kAnswerTimeout);
  boost::system::error_code fault;
  const json::value list = json::parse(body, fault);
  const json::value* id = fault ? nullptr : list.find_pointer("/data/0/id", fault);
  if (id == nullptr || !id->is_string()) throw Error(Part::launch, fmt::format("{} lists no model", server.text));
  return std::string(id->get_string());
}

std::string completion_body(const BenchLoad& load, int index) {
  std::mt19937_64 random(load.seed * 0x9e3779b97f4a7c15u + static_cast<uint64_t>(index));
  json::array prompt;
  for (int i = 0; i < load.prompt_tokens; ++i)
    prompt.push_back(static_cast<int64_t>(kFirstToken + random() % (kLastToken - kFirstToken + 1)));
  return json::serialize(json::object{{"model", load.model},
                                      {"prompt", std::move(prompt)},
                                      {"max_tokens", load.output_tokens},
                                      {"temperature", 0},
                                      {"ignore_eos", true},
                                      {"stream", true},
                                      {"stream_options", json::object{{"include_usage", true}}}});
}

}  // namespace echelon
