// The folder, its files and the rows of files. Bytes come before the row that names them, and go after it.
#include "frontend/batch/store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <utility>

#include "kernels/base/error.h"
#include "kernels/base/log.h"

namespace echelon {
namespace {

namespace fs = std::filesystem;

constexpr char kSchema[] = R"sql(
CREATE TABLE IF NOT EXISTS files (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL, name TEXT NOT NULL,
  purpose TEXT NOT NULL, bytes INTEGER NOT NULL, created INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS batches (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL, endpoint TEXT NOT NULL,
  input_file TEXT NOT NULL, output_file TEXT NOT NULL, error_file TEXT NOT NULL, status INTEGER NOT NULL,
  metadata TEXT NOT NULL, errors TEXT NOT NULL, expires INTEGER NOT NULL,
  total INTEGER NOT NULL, completed INTEGER NOT NULL, failed INTEGER NOT NULL,
  since0 INTEGER, since1 INTEGER, since2 INTEGER, since3 INTEGER, since4 INTEGER, since5 INTEGER, since6 INTEGER,
  since7 INTEGER) STRICT;
CREATE TABLE IF NOT EXISTS results (
  batch INTEGER NOT NULL REFERENCES batches (number) ON DELETE CASCADE, line INTEGER NOT NULL, failed INTEGER NOT NULL,
  text TEXT NOT NULL, PRIMARY KEY (batch, line)) STRICT;
)sql";
constexpr int kSchemaVersion = 1;
constexpr std::string_view kOption = "--batch-dir";
constexpr std::string_view kIdPrefix = "file-", kUnfinished = ".part";

constexpr char kFileColumns[] = "number, id, tenant, name, purpose, bytes, created";

[[noreturn]] void fail(const fs::path& path, const char* what) {
  throw Error(Part::frontend, fmt::format("{}: cannot {} {}: {}", kOption, what, path.string(), std::strerror(errno)));
}

StoredFile file_of(const Statement& row) {
  return {.number = row.integer(0),
          .id = row.text(1),
          .tenant = row.text(2),
          .name = row.text(3),
          .purpose = row.text(4),
          .bytes = row.integer(5),
          .created_unix_s = row.integer(6)};
}

/// "file-" and 24 hexadecimal digits (random_id), also while it is written: nothing else is ever removed.
bool is_our_name(std::string_view name) {
  if (!name.starts_with(kIdPrefix)) return false;
  name.remove_prefix(kIdPrefix.size());
  if (name.ends_with(kUnfinished)) name.remove_suffix(kUnfinished.size());
  return name.size() == 24 && name.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// A descriptor that is closed.
class OpenFile {
 public:
  OpenFile(fs::path path, int flags) : path_(std::move(path)), number_(::open(path_.c_str(), flags | O_CLOEXEC, 0600)) {
    if (number_ < 0) fail(path_, "open");
  }
  ~OpenFile() { ::close(number_); }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  void write(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::write(number_, bytes.data(), bytes.size());
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) fail(path_, "write");
      bytes.remove_prefix(static_cast<size_t>(count));
    }
  }
  void sync() {
    if (::fsync(number_) != 0) fail(path_, "write");
  }

 private:
  const fs::path path_;
  const int number_;
};

}  // namespace

BatchStore::BatchStore(fs::path folder) : folder_(std::move(folder), kOption) {
  make_own_folder(folder_.path() / "files", kOption);
  const fs::path file = folder_.path() / "batches.sqlite3";
  database_.emplace(file);
  ::chmod(file.c_str(), 0600);
  database_->make_tables(kSchema, kSchemaVersion);
  sweep();
  used_bytes_ = count_bytes();
}

/// Removes what a killed process wrote and did not come to name, or had not yet removed.
void BatchStore::sweep() {
  std::set<std::string> known;
  auto rows = database_->prepare("SELECT id FROM files");
  while (rows.step()) known.insert(rows.text(0));
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_.path() / "files", error)) {
    const std::string name = entry.path().filename().string();
    if (is_our_name(name) && !known.contains(name)) fs::remove(entry.path(), error);
  }
  for (const std::string& id : known) {
    if (!fs::exists(path_of(id), error)) log::warn("--batch-dir: {} is missing", path_of(id).string());
  }
}

/// Whole or not at all: under another name until its bytes are on the disk.
void BatchStore::write_file(const std::string& id,
                            const std::function<void(const std::function<void(std::string_view)>&)>& fill) {
  const fs::path path = path_of(id), unfinished = path.string() + std::string(kUnfinished);
  try {
    OpenFile file(unfinished, O_WRONLY | O_CREAT | O_TRUNC);
    fill([&](std::string_view bytes) { file.write(bytes); });
    file.sync();
    if (::rename(unfinished.c_str(), path.c_str()) != 0) fail(path, "write");
    OpenFile(path.parent_path(), O_RDONLY | O_DIRECTORY).sync();
  } catch (...) {
    ::unlink(unfinished.c_str());
    throw;
  }
}

void BatchStore::insert_file(StoredFile& file) {
  database_->prepare("INSERT INTO files (id, tenant, name, purpose, bytes, created) VALUES (?, ?, ?, ?, ?, ?)")
      .bind(file.id, file.tenant, file.name, file.purpose, file.bytes, file.created_unix_s)
      .run();
  file.number = database_->last_number();
}

StoredFile BatchStore::add_file(StoredFile file, std::string_view bytes) {
  file.bytes = static_cast<int64_t>(bytes.size());
  write_file(file.id, [&](const auto& write) { write(bytes); });
  Transaction transaction(*database_, Transaction::Kind::lasting);
  insert_file(file);
  transaction.commit();
  used_bytes_ += file.bytes;
  return file;
}

std::optional<StoredFile> BatchStore::find_file(const std::string& id, const std::string& tenant) {
  auto row = database_->prepare(fmt::format("SELECT {} FROM files WHERE id = ? AND tenant = ?", kFileColumns));
  if (!row.bind(id, tenant).step()) return std::nullopt;
  return file_of(row);
}

Page<StoredFile> BatchStore::list_files(const std::string& tenant, const std::string& purpose, int64_t after,
                                        size_t limit, bool oldest_first) {
  auto rows = database_->prepare(
      fmt::format("SELECT {} FROM files WHERE tenant = ?1 AND (?2 = '' OR purpose = ?2) AND (?3 = 0 OR number {} ?3) "
                  "ORDER BY number {} LIMIT ?4",
                  kFileColumns, oldest_first ? ">" : "<", oldest_first ? "ASC" : "DESC"));
  rows.bind(tenant, purpose, after, static_cast<int64_t>(limit) + 1);
  Page<StoredFile> page;
  while (rows.step()) {
    page.has_more = page.items.size() == limit;
    if (!page.has_more) page.items.push_back(file_of(rows));
  }
  return page;
}

void BatchStore::remove_file(const StoredFile& file) {
  Transaction transaction(*database_, Transaction::Kind::lasting);
  database_->prepare("DELETE FROM files WHERE number = ?").bind(file.number).run();
  transaction.commit();
  used_bytes_ -= file.bytes;
  std::error_code left_to_the_sweep;
  fs::remove(path_of(file.id), left_to_the_sweep);
}

int64_t BatchStore::num_files() {
  auto row = database_->prepare("SELECT count(*) FROM files");
  row.step();
  return row.integer(0);
}

int64_t BatchStore::count_bytes() {
  auto row = database_->prepare(
      "SELECT (SELECT coalesce(sum(bytes), 0) FROM files) + "
      "(SELECT coalesce(sum(length(CAST(text AS BLOB))), 0) FROM results)");
  row.step();
  return row.integer(0);
}

}  // namespace echelon
