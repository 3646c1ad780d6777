// A row for each rank, a paragraph for each host, then what is to be mended.
#include "launch/doctor/report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <set>

namespace echelon {
namespace {

size_t num_errors(const DoctorReport& report) {
  return static_cast<size_t>(
      std::count_if(report.findings.begin(), report.findings.end(), [](const Finding& each) { return each.is_error; }));
}

std::string gibibytes(int64_t bytes) { return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / (1 << 30)); }

std::string limit(int64_t value) { return value < 0 ? "unlimited" : fmt::format("{}", value); }

std::string link_text(const LinkFacts& link) {
  if (!link.fault.empty()) return "fault, see below";
  if (link.way.empty()) return "-";
  return fmt::format("{}, {:.1f} us, {:.1f} GB/s", link.way, link.us, 1e-9 * link.bytes_per_s);
}

using Row = std::vector<std::string>;

/// Columns as wide as they need to be; the last one is not filled up.
std::string table(const std::vector<Row>& rows) {
  std::vector<size_t> widths(rows.front().size(), 0);
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const Row& row : rows) {
    for (size_t i = 0; i + 1 < row.size(); ++i) text += fmt::format("{:<{}}  ", row[i], widths[i]);
    text += row.back() + "\n";
  }
  return text;
}

std::string rows_of_ranks(const std::vector<RankFacts>& ranks) {
  std::vector<Row> rows{
      {"rank", "local", "host", "cores", "of", "free memory", "NUMA", "CPU", "GPUs", "to the rank before"}};
  for (size_t i = 0; i < ranks.size(); ++i) {
    const RankFacts& rank = ranks[i];
    rows.push_back({fmt::format("{}", i), fmt::format("{}", rank.local_rank), rank.host, rank.cores,
                    fmt::format("{}", rank.num_cores_of_host), gibibytes(rank.free_bytes), rank.numa_nodes, rank.isa,
                    rank.gpus.empty() ? "none" : fmt::format("{} x {}", rank.gpus.size(), rank.gpus.front()),
                    link_text(rank.link)});
  }
  return table(rows);
}

std::string host_lines(const RankFacts& first) {
  std::string text = fmt::format("{}: {}; control between hosts by {}\n", first.host, fmt::join(first.interfaces, ", "),
                                 first.address.empty() ? "none" : first.address);
  if (!first.fabrics.empty()) text += fmt::format("  fabric: {}\n", fmt::join(first.fabrics, ", "));
  text += fmt::format("  /dev/shm {} free; open files {} (at most {}), locked memory {}, processes {}\n",
                      gibibytes(first.shm_free_bytes), limit(first.open_files), limit(first.open_files_hard),
                      limit(first.locked_bytes), limit(first.processes));
  if (first.gpus.empty()) text += fmt::format("  GPUs: none: {}\n", first.no_gpus);
  if (!first.model.path.empty())
    text += fmt::format("  model: {}, {}, on {} ({})\n", first.model.path, gibibytes(first.model.num_bytes),
                        first.model.file_system, first.model.is_remote ? "over the network" : "local");
  return text;
}

}  // namespace

bool DoctorReport::has_errors() const { return num_errors(*this) > 0; }

std::string doctor_text(const DoctorReport& report) {
  const std::vector<RankFacts>& ranks = report.ranks;
  std::set<std::string> hosts;
  std::string of_hosts;
  for (const RankFacts& rank : ranks) {
    if (hosts.insert(rank.host).second) of_hosts += host_lines(rank);
  }
  std::string text = fmt::format("{} {} on {} {}; {}\n\n", ranks.size(), ranks.size() == 1 ? "rank" : "ranks",
                                 hosts.size(), hosts.size() == 1 ? "host" : "hosts",
                                 ranks[0].mpi.empty() ? "started alone, without MPI" : ranks[0].mpi);
  text += rows_of_ranks(ranks) + "\n" + of_hosts + "\n";
  for (const Finding& finding : report.findings)
    text += fmt::format("{}: {}\n  cure: {}\n", finding.is_error ? "error" : "warning", finding.what, finding.cure);
  const size_t errors = num_errors(report), warnings = report.findings.size() - errors;
  return text + fmt::format("{} {}, {} {}\n", errors, errors == 1 ? "error" : "errors", warnings,
                            warnings == 1 ? "warning" : "warnings");
}

std::string doctor_json(const DoctorReport& report) {
  boost::json::array ranks, findings;
  for (const RankFacts& rank : report.ranks) ranks.push_back(to_json(rank));
  for (const Finding& each : report.findings)
    findings.push_back(boost::json::object{{"error", each.is_error}, {"what", each.what}, {"cure", each.cure}});
  const size_t errors = num_errors(report);
  return boost::json::serialize(boost::json::object{{"ranks", ranks},
                                                    {"findings", findings},
                                                    {"errors", errors},
                                                    {"warnings", report.findings.size() - errors}}) +
         "\n";
}

}  // namespace echelon
