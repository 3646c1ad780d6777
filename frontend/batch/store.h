// What is known of files and batches, kept in SQLite, and the files' bytes beside it. A process that is killed between
// any two calls, or in one, leaves a store that goes on where it was. One thread at a time; calls wait for the disk.
//
//   DIR/batches.sqlite3   rows of files, batches and results that are not yet in a file
//   DIR/files/ID          bytes of a file; what no row names is left over and removed at start
//   DIR/lock              held while a server uses the folder
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "frontend/storage/own_folder.h"
#include "frontend/storage/sqlite.h"

namespace echelon {

/// In OpenAI's words, and in the order in which a batch goes through them.
enum class BatchStatus { validating, in_progress, finalizing, completed, failed, expired, cancelling, cancelled };
inline constexpr size_t kNumBatchStatuses = 8;
std::string_view status_name(BatchStatus status);
bool has_ended(BatchStatus status);

struct StoredFile {
  int64_t number = 0;  ///< in the order in which they were made
  std::string id;      ///< "file-..."
  std::string tenant;  ///< who alone sees it
  std::string name;    ///< as its owner named it; never a path of ours
  std::string purpose;
  int64_t bytes = 0, created_unix_s = 0;
};

struct Batch {
  int64_t number = 0;  ///< in the order in which they were made
  std::string id;      ///< "batch_..."
  std::string tenant;
  std::string endpoint;                             ///< "/v1/chat/completions"
  std::string input_file, output_file, error_file;  ///< ids; empty: there is none
  BatchStatus status = BatchStatus::validating;
  std::string metadata = "null", errors = "null";               ///< JSON
  std::array<std::optional<int64_t>, kNumBatchStatuses> since;  ///< when it got a status, Unix seconds
  int64_t expires_unix_s = 0;
  int64_t total = 0, completed = 0, failed = 0;  ///< requests
  std::optional<int64_t>& at(BatchStatus of) { return since[static_cast<size_t>(of)]; }
  const std::optional<int64_t>& at(BatchStatus of) const { return since[static_cast<size_t>(of)]; }
};

struct BatchResult {
  int64_t line = 0;  ///< of the input file, from 1
  bool failed = false;
  std::string text;  ///< of the output or error file, without the line's end
};

/// Some of a list, newest first.
template <typename T>
struct Page {
  std::vector<T> items;
  bool has_more = false;
};

class BatchStore {
 public:
  /// Makes the folder, for its owner alone, or goes on with what is there. Throws Error(Part::frontend), also when
  /// another process uses the folder.
  explicit BatchStore(std::filesystem::path folder);

  // --- files ---
  /// Bytes first, then the row. Fills number and bytes.
  StoredFile add_file(StoredFile file, std::string_view bytes);
  std::optional<StoredFile> find_file(const std::string& id, const std::string& tenant);
  /// `after`: a file's number; 0: from the beginning. An empty purpose: any.
  Page<StoredFile> list_files(const std::string& tenant, const std::string& purpose, int64_t after, size_t limit,
                              bool oldest_first);
  void remove_file(const StoredFile& file);
  std::filesystem::path path_of(const std::string& file_id) const { return folder_.path() / "files" / file_id; }
  int64_t num_files();
  /// Of all files and of results that are not yet in one.
  int64_t used_bytes() const { return used_bytes_; }

  // --- batches ---
  Batch add_batch(Batch batch);
  std::optional<Batch> find_batch(const std::string& id, const std::string& tenant);
  std::optional<Batch> find_batch(int64_t number);
  Page<Batch> list_batches(const std::string& tenant, int64_t after, size_t limit);
  std::vector<int64_t> open_batches();  ///< those that have not ended, oldest first
  bool is_input_of_open_batch(const std::string& file_id);
  /// Status, times, total and errors, where its status in the store is still `from`; else false and no change.
  bool update(const Batch& batch, BatchStatus from);

  // --- results ---
  bool has_result(int64_t batch, int64_t line);
  /// Each line's once: of one that is there nothing changes. Counts them in the batch.
  void add_results(int64_t batch, const std::vector<BatchResult>& results);
  /// Writes what there is of `batch` into its output and error file, in the order of lines, and ends the batch with
  /// its status and time; a file without lines is not made. Fills output_file and error_file. As update().
  bool end_batch(Batch& batch, BatchStatus from);

 private:
  void sweep();
  int64_t count_bytes();
  void forget_oldest();
  bool write_row(const Batch& batch, BatchStatus from);
  void write_file(const std::string& id, const std::function<void(const std::function<void(std::string_view)>&)>& fill);
  std::optional<StoredFile> write_results(const Batch& batch, bool failed);
  void insert_file(StoredFile& file);

  const OwnFolder folder_;
  std::optional<Database> database_;
  int64_t used_bytes_ = 0;
};

}  // namespace echelon
