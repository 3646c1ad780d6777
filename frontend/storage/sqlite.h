// SQLite's C interface, as far as batches and the journal use it. Every fault is thrown as Error(Part::frontend) that
// names the file and what SQLite said. One thread at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace echelon {

/// Bytes that are no text.
struct Blob {
  std::string_view bytes;
};

/// A prepared statement. The database outlives it.
class Statement {
 public:
  /// Binds ?1, ?2, .. ; texts are copied.
  template <typename... Values>
  Statement& bind(const Values&... values) {
    int index = 0;
    (bind_one(++index, values), ...);
    return *this;
  }
  /// True when there is a row: the columns below are its, until the next step.
  bool step();
  /// Of a statement that gives no rows. It may be bound again.
  void run();

  int64_t integer(int column) const;
  /// Nothing when it is NULL.
  std::optional<int64_t> maybe_integer(int column) const;
  /// Empty when it is NULL.
  std::string text(int column) const;
  /// Of a BLOB; until the next step.
  std::string_view bytes(int column) const;

 private:
  friend class Database;
  Statement(sqlite3_stmt* statement, std::string file) : statement_(statement, finalize), file_(std::move(file)) {}
  static void finalize(sqlite3_stmt* statement);
  void bind_one(int index, int64_t value);
  void bind_one(int index, std::string_view value);
  void bind_one(int index, Blob value);
  void bind_one(int index, std::optional<int64_t> value);
  void check(int code) const;

  std::unique_ptr<sqlite3_stmt, void (*)(sqlite3_stmt*)> statement_;
  std::string file_;
};

class Database {
 public:
  enum class Users { many, one };
  /// Opens the file, or makes it, with a write-ahead log. `one`: no other process opens it, which the caller sees to;
  /// it may lie on a network's file system then, because nothing is locked and no memory shared.
  explicit Database(const std::filesystem::path& file, Users users = Users::many);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  Statement prepare(std::string_view sql);
  /// Several statements without parameters.
  void execute(const char* sql);
  /// `schema` makes tables that are not there; a file of another `version` is refused.
  void make_tables(const char* schema, int version);
  /// Rows that the last statement changed.
  int64_t num_changed() const;
  int64_t last_number() const;  ///< INTEGER PRIMARY KEY of the row that was inserted last

 private:
  const std::string file_;
  sqlite3* database_ = nullptr;
};

/// Undone unless it is committed. A process that is killed leaves all of it or nothing. `lasting`: it outlives a power
/// cut, too; without, a power cut may undo the last few.
class Transaction {
 public:
  enum class Kind { lasting, quick };
  Transaction(Database& database, Kind kind);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit();

 private:
  Database& database_;
  bool open_ = true;
};

}  // namespace echelon
