// The table of metrics. Counters end in _total, as Prometheus clients (and so vLLM's) write them.
// Latency histograms are in seconds.
#include "frontend/metrics/exposition.h"

#include <fmt/format.h>

#include <array>

#include "frontend/metrics/prometheus.h"

namespace echelon {
namespace {

using Type = PrometheusText::Type;

void write_vllm(PrometheusText& out, const EngineMetrics& engine) {
  const auto count = [](uint64_t value) { return static_cast<double>(value); };
  out.gauge("vllm:num_requests_running", count(engine.num_running), "Requests that are being computed.");
  out.gauge("vllm:num_requests_waiting", count(engine.num_waiting), "Requests in the queue.");
  out.gauge("vllm:kv_cache_usage_perc", engine.kv_usage, "KV blocks in use; 1 means all.");
  out.counter("vllm:prefix_cache_queries_total", count(engine.prefix_query_tokens),
              "Prompt tokens looked up in the prefix cache.");
  out.counter("vllm:prefix_cache_hits_total", count(engine.prefix_hit_tokens),
              "Prompt tokens found in the prefix cache.");
  out.counter("vllm:num_preemptions_total", count(engine.preemptions), "Sequences that gave up their KV blocks.");
  out.counter("vllm:prompt_tokens_total", count(engine.prompt_tokens), "Prompt tokens taken in.");
  out.counter("vllm:generation_tokens_total", count(engine.generation_tokens), "Tokens generated.");
  constexpr std::array<std::string_view, 5> kReasons = {"stop", "length", "abort", "error", "timeout"};
  static_assert(kReasons.size() == std::tuple_size_v<decltype(EngineMetrics::finished)>);
  out.family("vllm:request_success_total", Type::counter, "Choices that ended, by reason.");
  for (size_t i = 0; i < kReasons.size(); ++i)
    out.sample(count(engine.finished[i]), {{"finished_reason", std::string(kReasons[i])}});
  out.histogram("vllm:time_to_first_token_seconds", engine.time_to_first_token, "From arrival to the first token.");
  out.histogram("vllm:inter_token_latency_seconds", engine.inter_token_latency, "Between two tokens of a choice.");
  out.histogram("vllm:e2e_request_latency_seconds", engine.end_to_end_latency, "From arrival to the last token.");
  out.histogram("vllm:request_queue_time_seconds", engine.queue_time, "From arrival to the first micro-batch.");
}

void write_repairs(PrometheusText& out, const EngineMetrics& engine) {
  const auto count = [](uint64_t value) { return static_cast<double>(value); };
  out.counter("echelon_ranks_lost_total", count(engine.ranks_lost), "Ranks that died or were given up.");
  out.counter("echelon_repairs_total", count(engine.repairs), "Replicas that got other ranks.");
  out.counter("echelon_replayed_tokens_total", count(engine.replayed_tokens),
              "Tokens of sequences that went on elsewhere.");
  out.gauge("echelon_spare_ranks", count(engine.num_spares), "Ranks without a place.");
  out.histogram("echelon_repair_seconds", engine.repair_time, "From a loss until the replica served again.");
}

PrometheusText::Labels labels_of(const RankMetrics& rank) {
  return {{"rank", std::to_string(rank.rank)},
          {"dp", std::to_string(rank.dp)},
          {"pp", std::to_string(rank.pp)},
          {"tp", std::to_string(rank.tp)},
          {"host", rank.host}};
}

PrometheusText::Labels with(PrometheusText::Labels labels, std::string_view name, std::string_view value) {
  labels.emplace_back(name, value);
  return labels;
}

/// One sample a rank. A negative value is one that is not known: no sample.
struct RankColumn {
  std::string_view name, help;
  Type type;
  double (*value)(const RankMetrics&);
};

constexpr auto kRankColumns = std::to_array<RankColumn>({
    {"echelon_stage_busy_seconds_total", "Time a rank spent computing micro-batches.", Type::counter,
     [](const RankMetrics& rank) { return rank.busy_seconds; }},
    {"echelon_stage_sampling_seconds_total", "Of it, logits and choosing tokens.", Type::counter,
     [](const RankMetrics& rank) { return rank.sampling_seconds; }},
    {"echelon_stage_active_seconds_total", "Time a rank's replica had micro-batches in flight.", Type::counter,
     [](const RankMetrics& rank) { return rank.active_seconds; }},
    {"echelon_stage_idle_seconds_total", "Time a rank's replica had none.", Type::counter,
     [](const RankMetrics& rank) { return rank.idle_seconds; }},
    {"echelon_stage_bubble_share",
     "Of the last second with work, what a rank neither computed nor exchanged with parts.", Type::gauge,
     [](const RankMetrics& rank) { return rank.recent.bubble; }},
    {"echelon_stage_mfu", "Operations needed, by those that fit the time computing; of the last second with work.",
     Type::gauge, [](const RankMetrics& rank) { return rank.recent.mfu; }},
    {"echelon_stage_mbu", "Bytes needed, by those that fit the time computing; of the last second with work.",
     Type::gauge, [](const RankMetrics& rank) { return rank.recent.mbu; }},
    {"echelon_stage_bytes_total", "Weights and KV cache that a rank's micro-batches had to read.", Type::counter,
     [](const RankMetrics& rank) { return rank.work.bytes; }},
    {"echelon_rank_ceiling_bytes_per_second", "Bytes a rank's threads read from memory, measured.", Type::gauge,
     [](const RankMetrics& rank) { return rank.ceiling.bytes > 0 ? rank.ceiling.bytes : -1; }},
    {"echelon_rank_cpu_seconds_total", "Processor time of a rank's process.", Type::counter,
     [](const RankMetrics& rank) { return rank.cpu_seconds; }},
    {"echelon_rank_resident_bytes", "Resident memory of a rank's process.", Type::gauge,
     [](const RankMetrics& rank) { return static_cast<double>(rank.resident_bytes); }},
    {"echelon_rank_weight_bytes", "Weights a rank holds.", Type::gauge,
     [](const RankMetrics& rank) { return static_cast<double>(rank.weight_bytes); }},
    {"echelon_rank_kv_bytes", "KV cache a rank holds.", Type::gauge,
     [](const RankMetrics& rank) { return static_cast<double>(rank.kv_bytes); }},
    {"echelon_rank_activation_bytes", "Activations and staging of a rank.", Type::gauge,
     [](const RankMetrics& rank) { return static_cast<double>(rank.activation_bytes); }},
    {"echelon_load_seconds", "Time a rank took to load its weights.", Type::gauge,
     [](const RankMetrics& rank) { return rank.load_seconds; }},
});

void write_ranks(PrometheusText& out, const EngineMetrics& engine) {
  for (const RankColumn& column : kRankColumns) {
    out.family(column.name, column.type, column.help);
    for (const RankMetrics& rank : engine.ranks) {
      if (const double value = column.value(rank); value >= 0) out.sample(value, labels_of(rank));
    }
  }
  out.family(
      "echelon_stage_wait_seconds_total", Type::counter,
      "Time a rank waited while its replica had work: for a plan, for activations, to send them, for its parts.");
  for (const RankMetrics& rank : engine.ranks) {
    const std::pair<std::string_view, double> causes[] = {{"plan", rank.wait.plan},
                                                          {"activations", rank.wait.activations},
                                                          {"send", rank.wait.send},
                                                          {"exchange", rank.wait.exchange}};
    for (const auto& [cause, seconds] : causes) out.sample(seconds, with(labels_of(rank), "cause", cause));
  }
  out.family("echelon_stage_operations_total", Type::counter, "Operations that a rank's micro-batches needed.");
  for (const RankMetrics& rank : engine.ranks) {
    for (size_t i = 0; i < kOperationKinds.size(); ++i)
      out.sample(rank.work.operations[i], with(labels_of(rank), "kind", kOperationKinds[i]));
  }
  out.family("echelon_rank_ceiling_operations_per_second", Type::gauge, "Operations a rank's threads reach, measured.");
  for (const RankMetrics& rank : engine.ranks) {
    for (size_t i = 0; i < kOperationKinds.size() && rank.ceiling.bytes > 0; ++i)
      out.sample(rank.ceiling.operations[i], with(labels_of(rank), "kind", kOperationKinds[i]));
  }
}

void write_http(PrometheusText& out, const HttpMetrics& http) {
  out.family("echelon_http_responses_total", Type::counter, "HTTP responses by status class.");
  for (size_t i = 0; i < http.responses.size(); ++i)
    out.sample(static_cast<double>(http.responses[i].load()), {{"status", fmt::format("{}xx", i + 1)}});
  const auto count = [](const auto& value) { return static_cast<double>(value.load()); };
  out.gauge("echelon_http_connections", count(http.connections), "Connections that are open.");
  out.gauge("echelon_http_requests_in_flight", count(http.in_flight), "Requests that are being answered.");
  out.counter("echelon_http_connections_accepted_total", count(http.connections_accepted), "Connections accepted.");
  out.counter("echelon_http_connections_refused_total", count(http.connections_refused),
              "Connections refused because too many were open.");
  out.counter("echelon_http_clients_left_total", count(http.clients_left),
              "Clients that left before their answer was complete.");
  out.counter("echelon_http_slow_readers_cut_total", count(http.slow_readers_cut),
              "Streams cut off because their reader was too slow.");
}

void write_journal(PrometheusText& out, const JournalMetrics& journal) {
  const auto count = [](const std::atomic<uint64_t>& value) { return static_cast<double>(value.load()); };
  out.gauge("echelon_journal_stored_streams", static_cast<double>(journal.stored.load()),
            "Streams that are kept to be resumed.");
  out.counter("echelon_journal_streams_total", count(journal.streams), "Streams that were written to the journal.");
  out.counter("echelon_resumed_streams_total", count(journal.resumed), "Streams of the journal that were asked for.");
  out.counter("echelon_journal_faults_total", count(journal.faults),
              "Writes to, and reads of, the journal that failed.");
}

void write_batches(PrometheusText& out, const BatchMetrics& batches) {
  out.gauge("echelon_batch_choices", static_cast<double>(batches.choices.load()), "Choices of batches in the engine.");
  out.family("echelon_batch_lines_total", Type::counter, "Lines of batches that were answered, by how.");
  out.sample(static_cast<double>(batches.lines_answered.load()), {{"result", "answered"}});
  out.sample(static_cast<double>(batches.lines_failed.load()), {{"result", "failed"}});
}

}  // namespace

std::string metrics_text(const EngineMetrics& engine, const HttpMetrics& http, std::string_view model_name,
                         const BatchMetrics* batches, const JournalMetrics* journal) {
  PrometheusText out({{"model_name", std::string(model_name)}});
  write_vllm(out, engine);
  out.counter("echelon_steps_total", static_cast<double>(engine.steps), "Micro-batches committed.");
  const auto number = [](uint64_t value) { return static_cast<double>(value); };
  out.gauge("echelon_kv_blocks_total", number(engine.kv_blocks_total), "KV blocks of all replicas.");
  out.gauge("echelon_kv_blocks_free", number(engine.kv_blocks_free), "KV blocks no sequence uses; they may be cached.");
  out.gauge("echelon_slots_in_use", number(engine.slots_in_use), "Slots of sequences that run.");
  out.gauge("echelon_bubble_share", engine.bubble_share, "Share of stage time without work while there was some.");
  out.histogram("echelon_step_rows", engine.step_rows, "Rows of a micro-batch.");
  out.gauge("echelon_micro_batches_in_flight", number(engine.micro_batches_in_flight),
            "Micro-batches whose result is awaited.");
  out.counter("echelon_plan_bytes_total", number(engine.plan_bytes), "Bytes of plans sent to the ranks.");
  out.family("echelon_slowest_rank", Type::gauge, "The rank that computed most of its last second with work.");
  if (engine.slowest_rank >= 0) out.sample(engine.slowest_rank);
  write_repairs(out, engine);
  write_ranks(out, engine);
  write_http(out, http);
  if (batches != nullptr) write_batches(out, *batches);
  if (journal != nullptr) write_journal(out, *journal);
  return out.text();
}

}  // namespace echelon
