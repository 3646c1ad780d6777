// A line of JSON for every request, appended to a file by a thread of its own, so that no session waits for a disk.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "frontend/access/request_record.h"

namespace echelon {

/// Without the line's end. No text of prompts or answers but what the record holds.
std::string request_log_line(const RequestRecord& record);

class RequestLog {
 public:
  /// Appends to `file`, which is made for its owner alone. Throws Error(Part::frontend) that names --request-log.
  explicit RequestLog(std::string file);
  ~RequestLog();  ///< writes what waits
  RequestLog(const RequestLog&) = delete;
  RequestLog& operator=(const RequestLog&) = delete;

  /// Any thread. Never waits for the file: lines that the disk cannot keep up with are dropped and counted.
  void write(std::string_view line);
  /// Any thread: for a file that was moved away. When that throws, the open file goes on.
  void reopen();

 private:
  struct File;
  static std::shared_ptr<File> open(const std::string& name);
  void run();
  void append(const File& file, std::string_view text);

  const std::string name_;
  std::mutex mutex_;  ///< guards the five below
  std::condition_variable changed_;
  std::shared_ptr<File> file_;  ///< owners: this, and the thread while it writes
  std::string waiting_;         ///< whole lines, at most kMaxWaitingBytes
  uint64_t num_dropped_ = 0;    ///< since the thread last looked
  bool ending_ = false;
  bool failing_ = false;   ///< the thread's: the last write failed, and that was said
  bool mid_line_ = false;  ///< the thread's: it failed in the middle of a line
  std::thread thread_;
};

}  // namespace echelon
