// Thin: one call of SQLite each.
#include "frontend/storage/sqlite.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include "kernels/base/error.h"

namespace echelon {
namespace {

constexpr int kBusyMs = 10'000;  ///< another process may be looking at the file

[[noreturn]] void fail(const std::string& file, sqlite3* database, int code) {
  throw Error(Part::frontend,
              fmt::format("{}: {}", file, database == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(database)));
}

}  // namespace

void Statement::finalize(sqlite3_stmt* statement) { sqlite3_finalize(statement); }

void Statement::check(int code) const {
  if (code != SQLITE_OK) fail(file_, sqlite3_db_handle(statement_.get()), code);
}

void Statement::bind_one(int index, int64_t value) { check(sqlite3_bind_int64(statement_.get(), index, value)); }

void Statement::bind_one(int index, std::string_view value) {
  // data() may be null, which SQLite would take for NULL
  const char* text = value.data() == nullptr ? "" : value.data();
  check(sqlite3_bind_text64(statement_.get(), index, text, value.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
}

void Statement::bind_one(int index, Blob value) {
  const char* bytes = value.bytes.data() == nullptr ? "" : value.bytes.data();
  check(sqlite3_bind_blob64(statement_.get(), index, bytes, value.bytes.size(), SQLITE_TRANSIENT));
}

void Statement::bind_one(int index, std::optional<int64_t> value) {
  value ? bind_one(index, *value) : check(sqlite3_bind_null(statement_.get(), index));
}

bool Statement::step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) fail(file_, sqlite3_db_handle(statement_.get()), code);
  return false;
}

void Statement::run() {
  while (step()) {
  }
  sqlite3_reset(statement_.get());
}

int64_t Statement::integer(int column) const { return sqlite3_column_int64(statement_.get(), column); }

std::optional<int64_t> Statement::maybe_integer(int column) const {
  if (sqlite3_column_type(statement_.get(), column) == SQLITE_NULL) return std::nullopt;
  return integer(column);
}

std::string Statement::text(int column) const {
  const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_.get(), column));
  if (bytes == nullptr) return {};
  return std::string(bytes, static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column)));
}

std::string_view Statement::bytes(int column) const {
  const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement_.get(), column));
  if (bytes == nullptr) return {};
  return {bytes, static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column))};
}

Database::Database(const std::filesystem::path& file, Users users) : file_(file.string()) {
  const int code =
      sqlite3_open_v2(file_.c_str(), &database_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                      users == Users::one ? "unix-none" : nullptr);
  try {
    if (code != SQLITE_OK) fail(file_, database_, code);
    sqlite3_busy_timeout(database_, kBusyMs);
    if (users == Users::one) execute("PRAGMA locking_mode = EXCLUSIVE");
    execute("PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON");
  } catch (...) {
    sqlite3_close(database_);
    throw;
  }
}

Database::~Database() { sqlite3_close(database_); }

Statement Database::prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v2(database_, sql.data(), static_cast<int>(sql.size()), &statement, nullptr);
  if (code != SQLITE_OK) fail(file_, database_, code);
  return Statement(statement, file_);
}

void Database::execute(const char* sql) {
  const int code = sqlite3_exec(database_, sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) fail(file_, database_, code);
}

void Database::make_tables(const char* schema, int version) {
  {
    auto found = prepare("PRAGMA user_version");
    found.step();
    if (found.integer(0) != 0 && found.integer(0) != version)
      throw Error(Part::frontend, fmt::format("{} is of another version of Echelon", file_));
  }
  Transaction transaction(*this, Transaction::Kind::lasting);
  execute(schema);
  execute(fmt::format("PRAGMA user_version = {}", version).c_str());
  transaction.commit();
}

int64_t Database::num_changed() const { return sqlite3_changes64(database_); }

int64_t Database::last_number() const { return sqlite3_last_insert_rowid(database_); }

Transaction::Transaction(Database& database, Kind kind) : database_(database) {
  database_.execute(kind == Kind::lasting ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
  database_.execute("BEGIN IMMEDIATE");
}

Transaction::~Transaction() {
  if (!open_) return;
  try {
    database_.execute("ROLLBACK");
  } catch (const Error&) {  // SQLite has undone it itself
  }
}

void Transaction::commit() {
  database_.execute("COMMIT");
  open_ = false;
}

}  // namespace echelon
