// `echelon top`: what it makes of the metrics of servers, ours and others, and how it draws them.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>
#include <cmath>
#include <random>

#include "frontend/metrics/exposition.h"
#include "frontend/metrics/pipeline_body.h"
#include "kernels/base/error.h"
#include "launch/client/http_client.h"
#include "launch/top/line.h"
#include "launch/top/metrics_text.h"
#include "launch/top/snapshot.h"
#include "launch/top/view.h"
#include "launch/top_options.h"

namespace echelon {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

template <typename F>
std::string error_of(F f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

// --- text ---

TEST(MetricsText, ReadsWhatTheFormatAllows) {
  const auto samples = parse_metrics(
      "# HELP a free { text\n# TYPE a counter\n\n  a 1\r\n"
      "b{} +2.5e3 1700000000\n"
      "c:d{ x = \"1\" , y=\"q\\\"\\\\\\n}\",} \tNaN\n"
      "e{x=\"\"} -Inf\n"
      "f +Inf");
  ASSERT_EQ(samples.size(), 5u);
  EXPECT_EQ(samples[0].name, "a");
  EXPECT_EQ(samples[0].value, 1);
  EXPECT_EQ(samples[1].value, 2500);
  EXPECT_EQ(samples[2].name, "c:d");
  EXPECT_EQ(samples[2].label("x"), "1");
  EXPECT_EQ(samples[2].label("y"), "q\"\\\n}");
  EXPECT_EQ(samples[2].label("z"), "");
  EXPECT_TRUE(std::isnan(samples[2].value));
  EXPECT_EQ(samples[3].value, -std::numeric_limits<double>::infinity());
  EXPECT_EQ(samples[4].value, std::numeric_limits<double>::infinity());
  EXPECT_THAT(parse_metrics(""), IsEmpty());
  EXPECT_THAT(parse_metrics("#"), IsEmpty());
}

TEST(MetricsText, NamesTheLineThatIsNone) {
  for (const char* line : {"<html>", "a", "a{", "a{x}", "a{x=1} 1", "a{x=\"1} 1", "a{x=\"1\\", "a{x=\"1\"y=\"2\"} 1",
                           "a{=\"1\"} 1", "a{,} 1", "{x=\"1\"} 1", "a one", "a 1e999", "a 1 2 3", "a 1 now", "a 0x10",
                           "a ++1", "\xff 1", "a{x=\"1\"}1 1 1"}) {
    EXPECT_THAT(error_of([&] { parse_metrics("ok 1\n" + std::string(line)); }), HasSubstr("line 2")) << line;
  }
}

TEST(MetricsText, MutatedTextIsAnErrorOrSamples) {
  std::mt19937 random(1);
  const std::string good = "a{x=\"1\",y=\"\\n\"} 2 3\nb 4\n# c\n";
  constexpr std::string_view kOdd = "{}\"\\,=\n# \t+-e.0\xff";
  int num_errors = 0;
  for (int trial = 0; trial < 20'000; ++trial) {
    std::string text = good;
    for (int i = 1 + static_cast<int>(random() % 3); i > 0; --i) {
      const size_t at = random() % text.size();
      random() % 2 ? text.erase(at, 1 + random() % 4) : text.insert(at, 1, kOdd[random() % kOdd.size()]);
      if (text.empty()) text = "a";
    }
    try {
      for (const MetricSample& sample : parse_metrics(text)) ASSERT_FALSE(sample.name.empty());
    } catch (const Error&) {
      ++num_errors;
    }
  }
  EXPECT_GT(num_errors, 1000);
  EXPECT_LT(num_errors, 19'000);
}

// --- snapshots ---

/// Two stages on two hosts. Of ten seconds the first computes six, the second eight.
EngineMetrics two_stages() {
  EngineMetrics engine;
  engine.num_running = 3;
  engine.num_waiting = 1;
  engine.kv_usage = 0.25;
  engine.kv_blocks_total = 400;
  engine.prompt_tokens = 100;
  engine.generation_tokens = 5000;
  engine.prefix_query_tokens = 100;
  engine.prefix_hit_tokens = 40;
  engine.steps = 50;
  engine.plan_bytes = 20'000;
  engine.micro_batches_in_flight = 2;
  RankMetrics first{.rank = 0, .host = "alpha", .busy_seconds = 6};
  first.wait = {.plan = 2, .activations = 0, .send = 1, .exchange = 0};
  first.active_seconds = 9;
  first.idle_seconds = 1;
  first.work = {.bytes = 300, .operations = {120, 0, 0, 0}};
  first.ceiling = {.bytes = 100, .operations = {100, 100, 100, 50}};
  RankMetrics second{.rank = 1, .pp = 1, .host = "beta", .busy_seconds = 8};
  second.wait.activations = 1;
  second.active_seconds = 9;
  second.idle_seconds = 1;
  engine.ranks = {first, second};
  return engine;
}

Snapshot snapshot_of(const EngineMetrics& engine, std::string_view model = "m") {
  return parse_snapshot(metrics_text(engine, HttpMetrics(), model));
}

std::vector<TracedMicroBatch> three_batches() {
  std::vector<TracedMicroBatch> trace;
  for (int i = 0; i < 3; ++i) {
    const double age = 0.5 - 0.1 * i;
    trace.push_back({.replica = 0,
                     .number = static_cast<uint64_t>(8 + i),
                     .rows = 4,
                     .stages = {{age, age - 0.1}, {age - 0.1, age - 0.2}}});
  }
  return trace;
}

TEST(TopSnapshot, HoldsWhatOurServerWrites) {
  const EngineMetrics engine = two_stages();
  const Snapshot snapshot = snapshot_of(engine, "model \"x\"");
  EXPECT_EQ(snapshot.model, "model \"x\"");
  EXPECT_EQ(snapshot.num_pp, 2);
  EXPECT_EQ(snapshot.num_dp * snapshot.num_tp, 1);
  EXPECT_EQ(snapshot.engine.generation_tokens, engine.generation_tokens);
  EXPECT_EQ(snapshot.engine.micro_batches_in_flight, 2u);
  ASSERT_EQ(snapshot.engine.ranks.size(), 2u);
  const RankMetrics &rank = snapshot.engine.ranks[0], &expected = engine.ranks[0];
  EXPECT_EQ(rank.host, "alpha");
  EXPECT_EQ(rank.wait.send, expected.wait.send);
  EXPECT_EQ(rank.work.operations, expected.work.operations);
  EXPECT_EQ(rank.ceiling.operations, expected.ceiling.operations);
  EXPECT_EQ(snapshot.engine.ranks[1].ceiling.bytes, 0);
}

TEST(TopSnapshot, NothingThatATerminalObeysPasses) {
  EngineMetrics engine = two_stages();
  engine.ranks[0].host = "a\x1b[2Jb\xc2\x9b";
  const Snapshot snapshot = snapshot_of(engine, "m\x1b]0;t\x07\n");
  EXPECT_EQ(snapshot.engine.ranks[0].host, "a?[2Jb??");
  EXPECT_EQ(snapshot.model, "m?]0;t??");
}

TEST(TopSnapshot, RefusesRanksThatCannotBe) {
  const auto refused = [](const std::string& text) { return error_of([&] { parse_snapshot(text); }); };
  const auto busy = [](const std::string& labels, const std::string& value = "1") {
    return "echelon_stage_busy_seconds_total{" + labels + "} " + value + "\n";
  };
  EXPECT_THAT(refused("vllm:num_requests_running 1\n"), HasSubstr("no metrics of Echelon"));
  EXPECT_THAT(refused(busy("rank=\"0\",dp=\"0\",pp=\"0\"")), HasSubstr("has no tp"));
  EXPECT_THAT(refused(busy("rank=\"-1\",dp=\"0\",pp=\"0\",tp=\"0\"")), HasSubstr("has no rank"));
  EXPECT_THAT(refused(busy("rank=\"0\",dp=\"0\",pp=\"0\",tp=\"99999999999\"")), HasSubstr("has no tp"));
  EXPECT_THAT(refused(busy("rank=\"0\",dp=\"0\",pp=\"0x\",tp=\"0\"")), HasSubstr("has no pp"));
  const std::string first = busy("rank=\"0\",dp=\"0\",pp=\"0\",tp=\"0\"");
  EXPECT_THAT(refused(first + busy("rank=\"1\",dp=\"0\",pp=\"0\",tp=\"0\"")), HasSubstr("no layout"));
  EXPECT_THAT(refused(first + busy("rank=\"1\",dp=\"0\",pp=\"2\",tp=\"0\"")), HasSubstr("no layout"));
  EXPECT_THAT(refused(first + busy("rank=\"2\",dp=\"0\",pp=\"1\",tp=\"0\"")), HasSubstr("no layout"));
  EXPECT_EQ(refused(first + busy("rank=\"1\",dp=\"0\",pp=\"1\",tp=\"0\"")), "no error");
  for (const char* value : {"-1", "NaN", "+Inf"})
    EXPECT_THAT(refused(busy("rank=\"0\",dp=\"0\",pp=\"0\",tp=\"0\"", value)), HasSubstr("positive number")) << value;
  EXPECT_THAT(refused(first + "vllm:num_requests_running NaN\n"), HasSubstr("vllm:num_requests_running"));
}

TEST(TopSnapshot, ATraceFitsItsLayoutOrIsRefused) {
  const Snapshot snapshot = snapshot_of(two_stages());
  const auto trace = parse_trace(boost::json::serialize(pipeline_body(three_batches())), snapshot);
  ASSERT_EQ(trace.size(), 3u);
  EXPECT_EQ(trace[1].number, 9u);
  EXPECT_DOUBLE_EQ(trace[1].stages[1].begin_age_s, 0.3);
  const auto batch = [](const std::string& stages, const std::string& replica = "0") {
    return R"({"micro_batches":[{"replica":)" + replica + R"(,"number":1,"rows":1,"stages":)" + stages + "}]}";
  };
  EXPECT_EQ(parse_trace(batch("[[2,1],[1,0]]"), snapshot).size(), 1u);
  for (const std::string& bad :
       {batch("[[2,1]]"), batch("[[1,2],[1,0]]"), batch("[[2],[1,0]]"), batch("[[2,1],[1,\"0\"]]"), batch("{}"),
        batch("[[2,1],[1,0]]", "1"), batch("[[2,1],[1,0]]", "-1"), batch("[[2,1],[1,0]]", "4294967296"),
        batch("[[2,1],[1e999,0]]"), std::string("[]"), std::string("{}"), std::string("<html>"), std::string()}) {
    EXPECT_NE(error_of([&] { parse_trace(bad, snapshot); }), "no error") << bad;
  }
}

// --- drawing ---

TEST(TopView, DrawsWhereTheTimeWent) {
  Snapshot now = snapshot_of(two_stages());
  now.trace = three_batches();
  Snapshot before = now;
  before.engine = EngineMetrics();
  const auto lines = top_lines(before, now, 10, {.width = 90, .colour = false});
  EXPECT_THAT(
      lines, ElementsAre("m  dp 1 x pp 2 x tp 1, 2 ranks on 2 hosts",
                         "tokens/s: 10 in, 500 out   requests: 3 running, 1 waiting",
                         "KV cache: 25 % of 400 blocks   prefix hits: 40 %",
                         "micro-batches/s: 5.0   in flight: 2   plans: 2.0 KB/s",  //
                         "", "stage part rank host   last 10.0 s                                      busy   MFU   MBU",
                         "    0    0    0 alpha  ############################sssssppppppppp.....  60 %  20 %  50 %",
                         "    1    0    1 beta   ######################################aaaa.....  80 %     -     - *",
                         "# busy  x parts  a activations  s sending  p plans  . nothing to do  * slowest",
                         "",  //
                         "micro-batches 8 to 10: 400.0 ms, 0.1 s ago",
                         "stage 0   888888888888888888889999999999999999999900000000000000000000....................",
                         "stage 1   ....................888888888888888888889999999999999999999900000000000000000000"));
}

TEST(TopView, CountersThatWentBackCountFromTheStart) {
  const Snapshot now = snapshot_of(two_stages());
  Snapshot before = now;
  before.engine.generation_tokens = 1'000'000;
  for (RankMetrics& rank : before.engine.ranks) rank.busy_seconds = rank.active_seconds = 1000;
  const auto lines = top_lines(before, now, 10, {.colour = false});
  EXPECT_THAT(lines[1], HasSubstr("500 out"));
  EXPECT_THAT(lines[6], HasSubstr("67 %"));  // 6 of 9 seconds: no idle ones since
}

TEST(TopView, RanksThatSayNothingNewAreNamedAsSuch) {
  const Snapshot now = snapshot_of(two_stages());
  const auto lines = top_lines(now, now, 1, {.colour = false});
  EXPECT_THAT(lines[6], HasSubstr("has not reported"));
}

TEST(TopView, KeepsItsWidthAndColoursOnlyWhereAsked) {
  Snapshot now = snapshot_of(two_stages(), std::string(300, 'm'));
  now.trace = three_batches();
  for (const int width : {0, 40, 57, 80, 200}) {
    for (const std::string& line : top_lines({}, now, 10, {.width = width, .colour = false})) {
      EXPECT_LE(line.size(), static_cast<size_t>(std::max(width, 40))) << line;
      for (const char c : line) EXPECT_TRUE(c >= ' ' && c <= '~');
    }
  }
  bool coloured = false;
  for (const std::string& line : top_lines({}, now, 10, {.width = 80, .colour = true}))
    coloured |= line.find('\x1b') != std::string::npos;
  EXPECT_TRUE(coloured);
}

TEST(TopView, APauseIsNotDrawn) {
  Snapshot now = snapshot_of(two_stages());
  now.trace = three_batches();
  for (TracedMicroBatch& batch : now.trace) {
    if (batch.number != 8) continue;
    for (TracedMicroBatch::Span& span : batch.stages) span = {span.begin_age_s + 60, span.end_age_s + 60};
  }
  const auto lines = top_lines({}, now, 10, {.colour = false});
  EXPECT_THAT(lines[10], HasSubstr("micro-batches 9 to 10:"));
}

TEST(TopView, ReplicasHaveAColumnAndAStripEach) {
  EngineMetrics engine = two_stages();
  engine.ranks[1].pp = 0;
  engine.ranks[1].dp = 1;
  Snapshot now = snapshot_of(engine);
  now.trace = {{.replica = 0, .number = 4, .rows = 1, .stages = {{2, 1}}},
               {.replica = 1, .number = 6, .rows = 1, .stages = {{2, 1}}}};
  const auto lines = top_lines({}, now, 10, {.colour = false});
  EXPECT_THAT(lines[5], HasSubstr("replica stage part rank host"));
  EXPECT_THAT(lines[10], HasSubstr("micro-batches 4 to 4 of replica 0"));
  EXPECT_THAT(lines[13], HasSubstr("micro-batches 6 to 6 of replica 1"));
}

TEST(TopLine, ColoursChangeWhereTheyDoAndEndPlain) {
  Line line;
  line.add("ab", Colour::red).add("c").to_column(6).add("d", Colour::green);
  EXPECT_EQ(line.text(80, true), "\x1b[0;31mab\x1b[0mc   \x1b[0;32md\x1b[0m");
  EXPECT_EQ(line.text(5, false), "abc");
  EXPECT_EQ(line.text(1, true), "\x1b[0;31ma\x1b[0m");
  EXPECT_EQ(line.text(0, false), "");
}

// --- what it is asked ---

TEST(TopAddress, HostPortAndPath) {
  const ServerAddress plain = parse_server("localhost:8000");
  EXPECT_EQ(plain.host, "localhost");
  EXPECT_EQ(plain.port, "8000");
  EXPECT_EQ(plain.path, "");
  const ServerAddress whole = parse_server("http://[::1]:81/gate/v1/");
  EXPECT_EQ(whole.host, "::1");
  EXPECT_EQ(whole.authority, "[::1]:81");
  EXPECT_EQ(whole.path, "/gate");
  EXPECT_EQ(parse_server("http://h/metrics").path, "");
  EXPECT_EQ(parse_server("http://h").port, "80");
  EXPECT_THAT(error_of([] { parse_server("https://h:8000"); }), HasSubstr("https is not supported"));
  for (const char* bad : {"", "http://", "ftp://h", "http://u:p@h", "http://h?x=1", "http://h#x", "http://h:0",
                          "http://h:99999", "http://h h", "http://h:x", "h\n:1"})
    EXPECT_NE(error_of([&] { parse_server(bad); }), "no error") << bad;
}

TEST(TopOptions, FlagsAndVariables) {
  const TopOptions options =
      parse_top({"http://h", "--once", "--interval", "5"}, {{"ECHELON_API_KEY", "k1,k2"}, {"ECHELON_CONFIG", "/no"}})
          .options;
  EXPECT_EQ(options.url, "http://h");
  EXPECT_TRUE(options.once);
  EXPECT_EQ(options.interval, 5);
  EXPECT_EQ(options.api_key, "k1");
  EXPECT_THAT(error_of([] { parse_top({}, {}); }), HasSubstr("URL is missing: echelon top URL"));
  EXPECT_THAT(error_of([] { parse_top({"a", "b"}, {}); }), HasSubstr("top takes one URL"));
  EXPECT_THAT(error_of([] { parse_top({"a", "--interval", "0"}, {}); }), HasSubstr("--interval"));
  EXPECT_THAT(error_of([] { parse_top({"a", "--intervall", "1"}, {}); }), HasSubstr("did you mean --interval?"));
  EXPECT_THAT(print_config("top", parse_top({"a", "--api-key", "secret"}, {})), Not(HasSubstr("secret")));
  for (const char* word : {"URL", "--interval", "--[no-]once", "--api-key", "NO_COLOR"})
    EXPECT_THAT(top_help(), HasSubstr(word));
}

}  // namespace
}  // namespace echelon
