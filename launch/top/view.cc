#include "launch/top/view.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "launch/top/line.h"
#include "launch/top/strip.h"

namespace echelon {
namespace {

constexpr int kLeastWidth = 40, kLeastBar = 10, kMostBar = 60;

/// What a counter has grown by; one that went back has begun anew.
template <typename Number>
double growth(Number before, Number now) {
  return static_cast<double>(now >= before ? now - before : now);
}

struct Part {
  char letter;
  Colour colour;
  std::string_view meaning;
  double seconds;
};

/// Where the time of a rank went between two snapshots.
struct RankInterval {
  double busy = 0, all = 0;
  std::vector<Part> parts;  ///< in the order of the bar
  double mfu = -1, mbu = -1;
};

RankInterval interval_of(const RankMetrics& before, const RankMetrics& now) {
  RankInterval interval{.busy = growth(before.busy_seconds, now.busy_seconds)};
  const double idle = growth(before.idle_seconds, now.idle_seconds);
  interval.all = growth(before.active_seconds, now.active_seconds) + idle;
  interval.parts = {
      {'#', Colour::green, "busy", interval.busy},
      {'x', Colour::cyan, "parts", growth(before.wait.exchange, now.wait.exchange)},
      {'a', Colour::yellow, "activations", growth(before.wait.activations, now.wait.activations)},
      {'s', Colour::magenta, "sending", growth(before.wait.send, now.wait.send)},
      {'p', Colour::red, "plans", growth(before.wait.plan, now.wait.plan)},
      {'.', Colour::faint, "nothing to do", idle},
  };
  if (interval.busy <= 0 || now.ceiling.bytes <= 0) return interval;
  interval.mbu = growth(before.work.bytes, now.work.bytes) / now.ceiling.bytes / interval.busy;
  interval.mfu = 0;
  for (size_t kind = 0; kind < now.work.operations.size(); ++kind) {
    if (now.ceiling.operations[kind] > 0)
      interval.mfu += growth(before.work.operations[kind], now.work.operations[kind]) / now.ceiling.operations[kind] /
                      interval.busy;
  }
  return interval;
}

std::string percent(double share) { return share < 0 ? "-" : fmt::format("{:.0f} %", 100 * share); }

std::string rate(double per_second) {
  return per_second < 10 ? fmt::format("{:.1f}", per_second) : fmt::format("{:.0f}", per_second);
}

Line server_line(const Snapshot& now) {
  std::set<std::string> hosts;
  for (const RankMetrics& rank : now.engine.ranks) hosts.insert(rank.host);
  Line line;
  line.add(now.model.empty() ? "no model yet" : now.model, Colour::bold);
  line.add(fmt::format("  dp {} x pp {} x tp {}, {} rank{} on {} host{}", now.num_dp, now.num_pp, now.num_tp,
                       now.engine.ranks.size(), now.engine.ranks.size() == 1 ? "" : "s", hosts.size(),
                       hosts.size() == 1 ? "" : "s"));
  return line;
}

Line token_line(const EngineMetrics& before, const EngineMetrics& now, double seconds) {
  return Line().add(fmt::format("tokens/s: {} in, {} out   requests: {} running, {} waiting",
                                rate(growth(before.prompt_tokens, now.prompt_tokens) / seconds),
                                rate(growth(before.generation_tokens, now.generation_tokens) / seconds),
                                now.num_running, now.num_waiting));
}

Line cache_line(const EngineMetrics& before, const EngineMetrics& now) {
  const double asked = growth(before.prefix_query_tokens, now.prefix_query_tokens);
  const double hits = asked > 0 ? growth(before.prefix_hit_tokens, now.prefix_hit_tokens) / asked : -1;
  return Line().add(fmt::format("KV cache: {} of {} blocks   prefix hits: {}", percent(now.kv_usage),
                                now.kv_blocks_total, percent(hits)));
}

Line step_line(const EngineMetrics& before, const EngineMetrics& now, double seconds) {
  return Line().add(fmt::format("micro-batches/s: {}   in flight: {}   plans: {} KB/s",
                                rate(growth(before.steps, now.steps) / seconds), now.micro_batches_in_flight,
                                rate(growth(before.plan_bytes, now.plan_bytes) / seconds / 1000)));
}

void add_bar(Line& line, const RankInterval& interval, int width) {
  double until = 0;
  int drawn = 0;
  for (const Part& part : interval.parts) {
    until += part.seconds;
    const int end = std::clamp(static_cast<int>(std::lround(width * until / interval.all)), drawn, width);
    line.add(std::string(static_cast<size_t>(end - drawn), part.letter), part.colour);
    drawn = end;
  }
}

double busy_share(const RankInterval& interval) { return interval.all > 0 ? interval.busy / interval.all : 0; }

/// Where the columns of the ranks' table begin.
struct Columns {
  int host_width, bar_at, bar_width;
  bool replicas;
};

constexpr std::string_view kFigures = "  busy   MFU   MBU";

Columns columns_of(const Snapshot& now, int width) {
  size_t host_width = 4;
  for (const RankMetrics& rank : now.engine.ranks) host_width = std::max(host_width, rank.host.size());
  Columns columns{.host_width = static_cast<int>(std::min<size_t>(host_width, width < 80 ? 6 : 16)),
                  .replicas = now.num_dp > 1};
  columns.bar_at = 18 + columns.host_width + (columns.replicas ? 8 : 0);
  columns.bar_width = std::clamp(width - columns.bar_at - static_cast<int>(kFigures.size()) - 2, kLeastBar, kMostBar);
  return columns;
}

Line heading(const Columns& columns, double seconds) {
  Line line;
  line.add(columns.replicas ? "replica stage part rank " : "stage part rank ", Colour::bold).add("host", Colour::bold);
  line.to_column(columns.bar_at).add(fmt::format("last {:.1f} s", seconds), Colour::bold);
  return std::move(line.to_column(columns.bar_at + columns.bar_width).add(kFigures, Colour::bold));
}

Line rank_line(const RankMetrics& rank, const RankInterval& interval, bool slowest, const Columns& columns) {
  Line line;
  if (columns.replicas) line.add(fmt::format("{:>7} ", rank.dp));
  line.add(fmt::format("{:>5} {:>4} {:>4} {}", rank.pp, rank.tp, rank.rank,
                       rank.host.substr(0, static_cast<size_t>(columns.host_width))));
  line.to_column(columns.bar_at);
  if (interval.all <= 0) return std::move(line.add("has not reported", Colour::faint));
  add_bar(line, interval, columns.bar_width);
  line.to_column(columns.bar_at + columns.bar_width);
  line.add(
      fmt::format("{:>6} {:>5} {:>5}", percent(busy_share(interval)), percent(interval.mfu), percent(interval.mbu)));
  if (slowest) line.add(" *", Colour::red);
  return line;
}

/// By replica, stage and part.
void add_ranks(std::vector<Line>& lines, const Snapshot& before, const Snapshot& now, double seconds, int width) {
  const std::vector<RankMetrics>& ranks = now.engine.ranks;
  std::vector<RankInterval> intervals;
  std::vector<size_t> order(ranks.size());
  for (size_t i = 0; i < ranks.size(); ++i) {
    order[i] = i;
    intervals.push_back(interval_of(i < before.engine.ranks.size() ? before.engine.ranks[i] : RankMetrics(), ranks[i]));
  }
  const auto place = [&](size_t i) { return std::array{ranks[i].dp, ranks[i].pp, ranks[i].tp}; };
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return place(a) < place(b); });
  const size_t slowest = *std::max_element(order.begin(), order.end(), [&](size_t a, size_t b) {
    return busy_share(intervals[a]) < busy_share(intervals[b]);
  });
  const Columns columns = columns_of(now, width);
  lines.push_back(heading(columns, seconds));
  for (const size_t i : order) {
    const bool marked = ranks.size() > 1 && i == slowest && intervals[i].busy > 0;
    lines.push_back(rank_line(ranks[i], intervals[i], marked, columns));
  }
}

Line legend(bool several) {
  Line line;
  for (const Part& part : interval_of({}, {}).parts)
    line.add(std::string(1, part.letter), part.colour).add(fmt::format(" {}  ", part.meaning), Colour::faint);
  if (several) line.add("*", Colour::red).add(" slowest", Colour::faint);
  return line;
}

}  // namespace

std::vector<std::string> top_lines(const Snapshot& before, const Snapshot& now, double seconds,
                                   const ViewOptions& options) {
  const int width = std::max(options.width, kLeastWidth);
  std::vector<Line> lines;
  lines.push_back(server_line(now));
  lines.push_back(token_line(before.engine, now.engine, seconds));
  lines.push_back(cache_line(before.engine, now.engine));
  lines.push_back(step_line(before.engine, now.engine, seconds));
  lines.emplace_back();
  add_ranks(lines, before, now, seconds, width);
  lines.push_back(legend(now.engine.ranks.size() > 1));
  for (int replica = 0; replica < now.num_dp; ++replica) add_strip(lines, now, replica, width);
  std::vector<std::string> texts;
  for (const Line& line : lines) texts.push_back(line.text(width, options.colour));
  return texts;
}

}  // namespace echelon
