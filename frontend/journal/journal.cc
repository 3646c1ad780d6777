// Tokens wait in memory for a transaction of all of them, twenty times a second.
#include "frontend/journal/journal.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "kernels/base/error.h"
#include "kernels/base/log.h"

namespace echelon {
namespace {

constexpr std::chrono::milliseconds kFlushPeriod{50};
constexpr std::chrono::seconds kForgetPeriod{30};
constexpr int kSchemaVersion = 1;
constexpr char kSchema[] = R"sql(
CREATE TABLE IF NOT EXISTS streams (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, tenant TEXT NOT NULL, path TEXT NOT NULL,
  body TEXT NOT NULL, fingerprint TEXT NOT NULL, began_ms INTEGER NOT NULL, seed INTEGER NOT NULL,
  prompts BLOB NOT NULL, used_s INTEGER NOT NULL, UNIQUE (id, tenant)) STRICT;
CREATE INDEX IF NOT EXISTS streams_by_use ON streams (used_s);
CREATE TABLE IF NOT EXISTS pieces (
  stream INTEGER NOT NULL REFERENCES streams (number) ON DELETE CASCADE, choice INTEGER NOT NULL,
  position INTEGER NOT NULL, tokens BLOB NOT NULL, finish INTEGER, stop_token INTEGER) STRICT;
CREATE INDEX IF NOT EXISTS pieces_by_stream ON pieces (stream);
)sql";

int64_t unix_seconds() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

}  // namespace

Journal::Journal(const std::filesystem::path& folder, std::chrono::seconds keep)
    : folder_(folder, "--journal"), keep_(keep) {
  const std::filesystem::path file = folder_.path() / "journal.sqlite3";
  database_.emplace(file, Database::Users::one);
  ::chmod(file.c_str(), 0600);
  database_->make_tables(kSchema, kSchemaVersion);
  forget();
  writer_ = std::thread([this] { loop(); });
}

Journal::~Journal() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  callers_.join();
  writer_.join();
}

void Journal::note_fault(const char* what) {
  if (metrics_.faults.fetch_add(1) == 0) log::error("--journal: {}; streams go on, but some cannot be resumed", what);
  log::debug("--journal: {}", what);
}

std::optional<int64_t> Journal::begin(const StoredStream& stream) {
  const std::lock_guard lock(disk_);
  try {
    Transaction transaction(*database_, Transaction::Kind::quick);
    database_->prepare("DELETE FROM streams WHERE id = ?1 AND tenant = ?2").bind(stream.id, stream.tenant).run();
    metrics_.stored -= database_->num_changed();
    database_
        ->prepare(
            "INSERT INTO streams (id, tenant, path, body, fingerprint, began_ms, seed, prompts, used_s) "
            "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")
        .bind(stream.id, stream.tenant, stream.path, stream.body, stream.fingerprint, stream.began_unix_ms,
              static_cast<int64_t>(stream.seed), Blob{bytes_of(stream.prompts)}, unix_seconds())
        .run();
    const int64_t number = database_->last_number();
    transaction.commit();
    ++metrics_.streams;
    ++metrics_.stored;
    return number;
  } catch (const Error& fault) {
    note_fault(fault.what());
    return std::nullopt;
  }
}

void Journal::push(const Entry& entry) {
  const std::lock_guard lock(mutex_);
  if (waiting_.empty()) changed_.notify_all();
  waiting_.push_back(entry);
}

void Journal::add(int64_t stream, size_t choice, size_t position, TokenId token) {
  push({.stream = stream,
        .choice = static_cast<uint32_t>(choice),
        .position = static_cast<uint32_t>(position),
        .token = token});
}

void Journal::finish(int64_t stream, size_t choice, size_t position, FinishReason reason,
                     std::optional<TokenId> stop_token) {
  push({.stream = stream,
        .choice = static_cast<uint32_t>(choice),
        .position = static_cast<uint32_t>(position),
        .reason = reason,
        .stop_token = stop_token.value_or(-1)});
}

void Journal::loop() {
  auto next_forget = std::chrono::steady_clock::now() + kForgetPeriod;
  for (bool ending = false; !ending;) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait_until(lock, next_forget, [this] { return ending_ || !waiting_.empty(); });
      ending = changed_.wait_for(lock, kFlushPeriod, [this] { return ending_; });
    }
    const std::lock_guard lock(disk_);
    flush();
    if (std::chrono::steady_clock::now() < next_forget) continue;
    next_forget += kForgetPeriod;
    try {
      forget();
    } catch (const Error& fault) {
      note_fault(fault.what());
    }
  }
}

/// With disk_ held.
void Journal::flush() {
  std::vector<Entry> entries;
  {
    const std::lock_guard lock(mutex_);
    entries.swap(waiting_);
    waiting_.reserve(entries.size());
  }
  if (entries.empty()) return;
  try {
    write(std::move(entries));
  } catch (const Error& fault) {
    note_fault(fault.what());
  }
}

void Journal::write(std::vector<Entry> entries) {
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.stream, a.choice) < std::pair(b.stream, b.choice);
  });
  Transaction transaction(*database_, Transaction::Kind::quick);
  auto insert = database_->prepare(
      "INSERT INTO pieces (stream, choice, position, tokens, finish, stop_token) "
      "SELECT number, ?2, ?3, ?4, ?5, ?6 FROM streams WHERE number = ?1");  // it may be forgotten by now
  auto touch = database_->prepare("UPDATE streams SET used_s = ?2 WHERE number = ?1");
  int64_t touched = 0;
  for (size_t i = 0; i < entries.size();) {
    const Entry first = entries[i];
    std::vector<TokenId> tokens;
    std::optional<int64_t> finish, stop_token;
    uint32_t next = first.position;
    for (; i < entries.size() && !finish; ++i) {  // as far as they follow each other
      const Entry& entry = entries[i];
      if (entry.stream != first.stream || entry.choice != first.choice || entry.position != next) break;
      if (entry.token >= 0) {
        tokens.push_back(entry.token);
        ++next;
      } else {
        finish = static_cast<int64_t>(entry.reason);
        if (entry.stop_token >= 0) stop_token = entry.stop_token;
      }
    }
    insert
        .bind(first.stream, int64_t{first.choice}, int64_t{first.position}, Blob{bytes_of(tokens)}, finish, stop_token)
        .run();
    if (std::exchange(touched, first.stream) != first.stream) touch.bind(first.stream, unix_seconds()).run();
  }
  transaction.commit();
}

/// With disk_ held, or before the first stream.
void Journal::forget() {
  Transaction transaction(*database_, Transaction::Kind::quick);
  database_->prepare("DELETE FROM streams WHERE used_s < ?1").bind(unix_seconds() - keep_.count()).run();
  auto count = database_->prepare("SELECT COUNT(*) FROM streams");
  count.step();
  metrics_.stored = count.integer(0);
  transaction.commit();
}

std::optional<StoredStream> Journal::find(std::string_view id, std::string_view tenant) {
  const std::lock_guard lock(disk_);
  flush();
  try {
    auto stream = read(id, tenant);
    if (stream) ++metrics_.resumed;
    return stream;
  } catch (const Error& fault) {
    note_fault(fault.what());
    return std::nullopt;
  }
}

std::optional<StoredStream> Journal::read(std::string_view id, std::string_view tenant) {
  auto row = database_->prepare(
      "SELECT number, path, body, fingerprint, began_ms, seed, prompts FROM streams WHERE id = ?1 AND tenant = ?2");
  row.bind(id, tenant);
  if (!row.step()) return std::nullopt;
  StoredStream stream{.number = row.integer(0),
                      .id = std::string(id),
                      .tenant = std::string(tenant),
                      .path = row.text(1),
                      .body = row.text(2),
                      .fingerprint = row.text(3),
                      .began_unix_ms = row.integer(4),
                      .seed = static_cast<uint64_t>(row.integer(5)),
                      .prompts = prompts_of(row.bytes(6)),
                      .choices = {}};
  auto pieces = database_->prepare(
      "SELECT choice, position, tokens, finish, stop_token FROM pieces WHERE stream = ?1 ORDER BY choice, position");
  pieces.bind(stream.number);
  while (pieces.step()) {
    add_piece({.choice = pieces.integer(0),
               .position = pieces.integer(1),
               .tokens = pieces.bytes(2),
               .finish = pieces.maybe_integer(3),
               .stop_token = pieces.maybe_integer(4)},
              stream);
  }
  return stream;
}

}  // namespace echelon
