// What streams need to go on when their connection or their server is lost, in a folder: the request as it came, what
// was drawn at random for it, and its tokens so far. The rest is worked out again: the same request has the same
// answer, bit for bit.
//
//   DIR/journal.sqlite3   rows of streams and of tokens
//   DIR/lock              held while a server uses the folder
//
// A process that is killed leaves all but the tokens of the last kFlushPeriod, which are made again. A power cut may
// also undo the streams of the last seconds.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/request.h"
#include "frontend/journal/stored_stream.h"
#include "frontend/metrics/journal_metrics.h"
#include "frontend/storage/own_folder.h"
#include "frontend/storage/sqlite.h"

namespace echelon {

class Journal {
 public:
  /// Streams are forgotten when nothing has been added for `keep`. Throws Error(Part::frontend), also when the file is
  /// damaged or another server's.
  Journal(const std::filesystem::path& folder, std::chrono::seconds keep);
  ~Journal();

  /// For calls that wait for the disk.
  boost::asio::thread_pool& thread() { return callers_; }

  // Any thread. Those that wait for the disk do not throw: a fault is logged and counted, and the stream goes on
  // without being kept.

  /// Waits for the disk. The stream's number; nothing when it could not be written. Replaces one of the same id.
  std::optional<int64_t> begin(const StoredStream& stream);
  /// At once. `position`: how many tokens the choice had before; the same tokens may be added twice.
  void add(int64_t stream, size_t choice, size_t position, TokenId token);
  /// At once. Behind its last token.
  void finish(int64_t stream, size_t choice, size_t position, FinishReason reason, std::optional<TokenId> stop_token);
  /// Waits for the disk. With all that was added; nothing when there is none.
  std::optional<StoredStream> find(std::string_view id, std::string_view tenant);

  const JournalMetrics& metrics() const { return metrics_; }

 private:
  struct Entry {
    int64_t stream = 0;
    uint32_t choice = 0, position = 0;
    TokenId token = -1;  ///< -1: it finished
    FinishReason reason = FinishReason::stop;
    TokenId stop_token = -1;
  };
  void push(const Entry& entry);
  void loop();
  void write(std::vector<Entry> entries);
  void flush();
  void forget();
  std::optional<StoredStream> read(std::string_view id, std::string_view tenant);
  void note_fault(const char* what);

  const OwnFolder folder_;
  const std::chrono::seconds keep_;
  JournalMetrics metrics_;
  std::mutex disk_;  ///< guards the database; taken before mutex_
  std::optional<Database> database_;
  std::mutex mutex_;  ///< guards what is below
  std::condition_variable changed_;
  std::vector<Entry> waiting_;
  bool ending_ = false;
  std::thread writer_;
  boost::asio::thread_pool callers_{1};
};

}  // namespace echelon
