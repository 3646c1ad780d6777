// The rows of batches and of their results.
#include <fmt/format.h>

#include <utility>

#include "frontend/batch/store.h"
#include "frontend/openai/ids.h"
#include "kernels/base/check.h"

namespace echelon {
namespace {

constexpr int64_t kMaxEndedBatches = 10'000;  ///< more are forgotten, oldest first; their files stay
constexpr char kColumns[] =
    "number, id, tenant, endpoint, input_file, output_file, error_file, status, metadata, errors, expires, total, "
    "completed, failed, since0, since1, since2, since3, since4, since5, since6, since7";
constexpr int kFirstTimeColumn = 14;

/// SQL's list of the statuses of batches that have not ended.
const std::string& open_statuses() {
  static const std::string text = [] {
    std::string list;
    for (size_t i = 0; i < kNumBatchStatuses; ++i) {
      if (!has_ended(static_cast<BatchStatus>(i))) list += fmt::format("{}{}", list.empty() ? "" : ", ", i);
    }
    return "(" + list + ")";
  }();
  return text;
}

Batch batch_of(const Statement& row) {
  Batch batch{.number = row.integer(0),
              .id = row.text(1),
              .tenant = row.text(2),
              .endpoint = row.text(3),
              .input_file = row.text(4),
              .output_file = row.text(5),
              .error_file = row.text(6),
              .status = static_cast<BatchStatus>(row.integer(7)),
              .metadata = row.text(8),
              .errors = row.text(9),
              .since = {},
              .expires_unix_s = row.integer(10),
              .total = row.integer(11),
              .completed = row.integer(12),
              .failed = row.integer(13)};
  for (size_t i = 0; i < kNumBatchStatuses; ++i)
    batch.since[i] = row.maybe_integer(kFirstTimeColumn + static_cast<int>(i));
  return batch;
}

}  // namespace

std::string_view status_name(BatchStatus status) {
  constexpr std::string_view kNames[kNumBatchStatuses] = {"validating", "in_progress", "finalizing", "completed",
                                                          "failed",     "expired",     "cancelling", "cancelled"};
  return kNames[static_cast<size_t>(status)];
}

bool has_ended(BatchStatus status) {
  return status == BatchStatus::completed || status == BatchStatus::failed || status == BatchStatus::expired ||
         status == BatchStatus::cancelled;
}

Batch BatchStore::add_batch(Batch batch) {
  Transaction transaction(*database_, Transaction::Kind::lasting);
  auto insert = database_->prepare(fmt::format(
      "INSERT INTO batches ({}) VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      kColumns));
  const auto& since = batch.since;
  insert
      .bind(batch.id, batch.tenant, batch.endpoint, batch.input_file, batch.output_file, batch.error_file,
            static_cast<int64_t>(batch.status), batch.metadata, batch.errors, batch.expires_unix_s, batch.total,
            batch.completed, batch.failed, since[0], since[1], since[2], since[3], since[4], since[5], since[6],
            since[7])
      .run();
  batch.number = database_->last_number();
  forget_oldest();
  transaction.commit();
  return batch;
}

void BatchStore::forget_oldest() {
  const std::string ended = "status NOT IN " + open_statuses();
  database_
      ->prepare(
          fmt::format("DELETE FROM batches WHERE {0} AND number <= (SELECT number FROM batches WHERE {0} ORDER BY "
                      "number DESC LIMIT 1 OFFSET ?)",
                      ended))
      .bind(kMaxEndedBatches)
      .run();
}

std::optional<Batch> BatchStore::find_batch(const std::string& id, const std::string& tenant) {
  auto row = database_->prepare(fmt::format("SELECT {} FROM batches WHERE id = ? AND tenant = ?", kColumns));
  if (!row.bind(id, tenant).step()) return std::nullopt;
  return batch_of(row);
}

std::optional<Batch> BatchStore::find_batch(int64_t number) {
  auto row = database_->prepare(fmt::format("SELECT {} FROM batches WHERE number = ?", kColumns));
  if (!row.bind(number).step()) return std::nullopt;
  return batch_of(row);
}

Page<Batch> BatchStore::list_batches(const std::string& tenant, int64_t after, size_t limit) {
  auto rows = database_->prepare(fmt::format(
      "SELECT {} FROM batches WHERE tenant = ?1 AND (?2 = 0 OR number < ?2) ORDER BY number DESC LIMIT ?3", kColumns));
  rows.bind(tenant, after, static_cast<int64_t>(limit) + 1);
  Page<Batch> page;
  while (rows.step()) {
    page.has_more = page.items.size() == limit;
    if (!page.has_more) page.items.push_back(batch_of(rows));
  }
  return page;
}

std::vector<int64_t> BatchStore::open_batches() {
  auto rows = database_->prepare("SELECT number FROM batches WHERE status IN " + open_statuses() + " ORDER BY number");
  std::vector<int64_t> numbers;
  while (rows.step()) numbers.push_back(rows.integer(0));
  return numbers;
}

bool BatchStore::is_input_of_open_batch(const std::string& file_id) {
  auto row = database_->prepare("SELECT 1 FROM batches WHERE input_file = ? AND status IN " + open_statuses());
  return row.bind(file_id).step();
}

/// All but what is set once and the counts of results.
bool BatchStore::write_row(const Batch& batch, BatchStatus from) {
  const auto& since = batch.since;
  database_
      ->prepare(
          "UPDATE batches SET output_file = ?, error_file = ?, status = ?, errors = ?, total = ?, since0 = ?, "
          "since1 = ?, since2 = ?, since3 = ?, since4 = ?, since5 = ?, since6 = ?, since7 = ? "
          "WHERE number = ? AND status = ?")
      .bind(batch.output_file, batch.error_file, static_cast<int64_t>(batch.status), batch.errors, batch.total,
            since[0], since[1], since[2], since[3], since[4], since[5], since[6], since[7], batch.number,
            static_cast<int64_t>(from))
      .run();
  return database_->num_changed() == 1;
}

bool BatchStore::update(const Batch& batch, BatchStatus from) {
  Transaction transaction(*database_, Transaction::Kind::lasting);
  const bool changed = write_row(batch, from);
  transaction.commit();
  return changed;
}

bool BatchStore::has_result(int64_t batch, int64_t line) {
  return database_->prepare("SELECT 1 FROM results WHERE batch = ? AND line = ?").bind(batch, line).step();
}

void BatchStore::add_results(int64_t batch, const std::vector<BatchResult>& results) {
  Transaction transaction(*database_, Transaction::Kind::quick);
  int64_t completed = 0, failed = 0, bytes = 0;
  for (const BatchResult& result : results) {
    database_->prepare("INSERT OR IGNORE INTO results (batch, line, failed, text) VALUES (?, ?, ?, ?)")
        .bind(batch, result.line, int64_t{result.failed}, result.text)
        .run();
    if (database_->num_changed() == 0) continue;
    ++(result.failed ? failed : completed);
    bytes += static_cast<int64_t>(result.text.size());
  }
  database_->prepare("UPDATE batches SET completed = completed + ?, failed = failed + ? WHERE number = ?")
      .bind(completed, failed, batch)
      .run();
  transaction.commit();
  used_bytes_ += bytes;
}

std::optional<StoredFile> BatchStore::write_results(const Batch& batch, bool failed) {
  auto rows = database_->prepare("SELECT text FROM results WHERE batch = ? AND failed = ? ORDER BY line");
  rows.bind(batch.number, int64_t{failed});
  if (!rows.step()) return std::nullopt;
  StoredFile file{.id = random_id("file-"),
                  .tenant = batch.tenant,
                  .name = fmt::format("{}_{}.jsonl", batch.id, failed ? "error" : "output"),
                  .purpose = "batch_output",
                  .created_unix_s = batch.at(batch.status).value_or(0)};
  write_file(file.id, [&](const auto& write) {
    do {
      const std::string line = rows.text(0) + "\n";
      write(line);
      file.bytes += static_cast<int64_t>(line.size());
    } while (rows.step());
  });
  return file;
}

bool BatchStore::end_batch(Batch& batch, BatchStatus from) {
  ECHELON_CHECK(has_ended(batch.status));
  std::optional<StoredFile> output = write_results(batch, false), errors = write_results(batch, true);
  batch.output_file = output ? output->id : "";
  batch.error_file = errors ? errors->id : "";
  Transaction transaction(*database_, Transaction::Kind::lasting);
  if (!write_row(batch, from)) return false;  // the files are left to the sweep
  if (output) insert_file(*output);
  if (errors) insert_file(*errors);
  database_->prepare("DELETE FROM results WHERE batch = ?").bind(batch.number).run();
  transaction.commit();
  used_bytes_ = count_bytes();
  return true;
}

}  // namespace echelon
