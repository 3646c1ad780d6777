// The store: what is there when it is opened again, also by a process after one that was killed between any two steps.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <sstream>

#include "frontend/batch/store.h"
#include "kernels/base/error.h"

namespace echelon {
namespace {

namespace fs = std::filesystem;

class Store : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("echelon_store_" + std::to_string(getpid()));
    fs::remove_all(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string content_of(const BatchStore& store, const std::string& id) {
    std::stringstream text;
    text << std::ifstream(store.path_of(id), std::ios::binary).rdbuf();
    return text.str();
  }
  size_t num_files_on_disk() {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_ / "files"), fs::directory_iterator()));
  }
  fs::path folder_;
};

StoredFile file_named(std::string id, std::string tenant = "alice") {
  return {.id = std::move(id), .tenant = std::move(tenant), .name = "f.jsonl", .purpose = "batch", .created_unix_s = 5};
}

Batch batch_named(std::string id, std::string input = "in", std::string tenant = "alice") {
  Batch batch{.id = std::move(id), .tenant = std::move(tenant), .endpoint = "/v1/completions"};
  batch.input_file = std::move(input);
  batch.metadata = R"({"a":"b"})";
  batch.at(BatchStatus::validating) = 7;
  batch.expires_unix_s = 1'000;
  return batch;
}

TEST_F(Store, KeepsFilesForTheirOwners) {
  {
    BatchStore store(folder_);
    const std::string bytes("a\0b\n", 4);
    EXPECT_EQ(store.add_file(file_named("one"), bytes).bytes, 4);
    store.add_file(file_named("two", "bob"), "");
    EXPECT_THROW(store.add_file(file_named("one"), "other"), Error);
  }
  BatchStore store(folder_);
  EXPECT_EQ(content_of(store, "two"), "");
  EXPECT_TRUE(store.find_file("one", "alice").has_value());
  EXPECT_EQ(store.find_file("one", "alice")->name, "f.jsonl");
  EXPECT_FALSE(store.find_file("one", "bob").has_value());
  EXPECT_FALSE(store.find_file("one", "").has_value());
  EXPECT_EQ(store.list_files("bob", "", 0, 10, false).items.size(), 1u);
  EXPECT_EQ(store.used_bytes(), 4);
  store.remove_file(*store.find_file("one", "alice"));
  EXPECT_EQ(store.num_files(), 1);
  EXPECT_EQ(store.used_bytes(), 0);
  EXPECT_FALSE(fs::exists(store.path_of("one")));
  struct stat state {};
  ASSERT_EQ(::stat(folder_.c_str(), &state), 0);
  EXPECT_EQ(state.st_mode & 0777, 0700u);
  ASSERT_EQ(::stat((folder_ / "batches.sqlite3").c_str(), &state), 0);
  EXPECT_EQ(state.st_mode & 0777, 0600u);
}

TEST_F(Store, ListsPages) {
  BatchStore store(folder_);
  for (int i = 0; i < 5; ++i) {
    store.add_file(file_named("f" + std::to_string(i)), "x");
    store.add_batch(batch_named("b" + std::to_string(i)));
    store.add_batch(batch_named("other" + std::to_string(i), "in", "bob"));
  }
  const auto ids = [](const auto& page) {
    std::string text;
    for (const auto& item : page.items) text += item.id + " ";
    return text + (page.has_more ? "more" : "");
  };
  EXPECT_EQ(ids(store.list_files("alice", "", 0, 2, false)), "f4 f3 more");
  EXPECT_EQ(ids(store.list_files("alice", "batch", store.find_file("f3", "alice")->number, 3, false)), "f2 f1 f0 ");
  EXPECT_EQ(ids(store.list_files("alice", "batch", store.find_file("f3", "alice")->number, 3, true)), "f4 ");
  EXPECT_EQ(ids(store.list_files("alice", "batch_output", 0, 3, true)), "");
  EXPECT_EQ(ids(store.list_batches("alice", 0, 4)), "b4 b3 b2 b1 more");
  EXPECT_EQ(ids(store.list_batches("alice", store.find_batch("b1", "alice")->number, 4)), "b0 ");
  EXPECT_EQ(store.open_batches().size(), 10u);
}

TEST_F(Store, CountsALineOnce) {
  BatchStore store(folder_);
  const Batch batch = store.add_batch(batch_named("b"));
  store.add_results(batch.number, {{1, false, "one"}, {2, true, "two"}});
  store.add_results(batch.number, {{2, false, "again"}, {3, false, "three"}});
  EXPECT_EQ(store.find_batch(batch.number)->completed, 2);
  EXPECT_EQ(store.find_batch(batch.number)->failed, 1);
  EXPECT_TRUE(store.has_result(batch.number, 2));
  EXPECT_FALSE(store.has_result(batch.number, 4));
  EXPECT_EQ(store.used_bytes(), 11);
  Batch changed = *store.find_batch(batch.number);
  changed.status = BatchStatus::in_progress;
  EXPECT_FALSE(store.update(changed, BatchStatus::cancelling)) << "it has another status";
  EXPECT_EQ(store.find_batch(batch.number)->status, BatchStatus::validating);
  changed.status = BatchStatus::completed;
  EXPECT_FALSE(store.end_batch(changed, BatchStatus::finalizing));
  EXPECT_EQ(store.num_files(), 0);
  ASSERT_TRUE(store.end_batch(changed, BatchStatus::validating));
  EXPECT_EQ(content_of(store, changed.output_file), "one\nthree\n");
  EXPECT_EQ(content_of(store, changed.error_file), "two\n");
  EXPECT_EQ(store.used_bytes(), 14);
  EXPECT_TRUE(store.open_batches().empty());
}

TEST_F(Store, OneServerUsesAFolder) {
  BatchStore store(folder_);
  EXPECT_THROW(BatchStore second(folder_), Error);
  const fs::path file = folder_ / "file";
  std::ofstream(file) << "x";
  EXPECT_THROW(BatchStore third(file), Error);
}

TEST_F(Store, RemovesNothingOfOthers) {
  fs::create_directories(folder_ / "files");
  for (const auto* name : {"letter", "file-x", "file-0123456789abcdef0123456g", "x.part"})
    std::ofstream(folder_ / "files" / name) << "mine";
  BatchStore store(folder_);
  EXPECT_EQ(num_files_on_disk(), 4u);
}

TEST_F(Store, RefusesWhatIsNoStore) {
  fs::create_directories(folder_);
  std::ofstream(folder_ / "batches.sqlite3")
      << "this is not a database, and long enough to look at its header first ....";
  EXPECT_THROW(BatchStore store(folder_), Error);
}

/// One step each of what a server does with a batch of three lines; a process may be killed between any two.
std::vector<std::function<void(BatchStore&)>> steps(const fs::path& folder) {
  const auto set = [](BatchStore& store, BatchStatus from, BatchStatus to) {
    Batch batch = *store.find_batch(1);
    if (batch.status != from) return;
    batch.status = to;
    batch.at(to) = 9;
    store.update(batch, from);
  };
  const auto result = [](BatchStore& store, int64_t line) {
    if (!store.has_result(1, line) && !has_ended(store.find_batch(1)->status))
      store.add_results(1, {{line, line == 2, "line " + std::to_string(line)}});
  };
  return {
      [](BatchStore& store) {
        if (!store.find_file("in", "alice")) store.add_file(file_named("in"), "1\n2\n3\n");
      },
      [](BatchStore& store) {
        if (!store.find_batch("b", "alice")) store.add_batch(batch_named("b"));
      },
      [=](BatchStore& store) { set(store, BatchStatus::validating, BatchStatus::in_progress); },
      [=](BatchStore& store) { result(store, 1); },
      [=](BatchStore& store) { result(store, 2); },
      [=](BatchStore& store) { result(store, 3); },
      [=](BatchStore& store) { set(store, BatchStatus::in_progress, BatchStatus::finalizing); },
      [=](BatchStore&) {
        std::ofstream(folder / "files/file-000000000000000000000001.part") << "line 1";
      },  // the files are being written
      [=](BatchStore&) { std::ofstream(folder / "files/file-0123456789abcdef01234567") << "line 1\nline 3\n"; },
      [](BatchStore& store) {
        Batch batch = *store.find_batch(1);
        if (has_ended(batch.status)) return;
        batch.status = BatchStatus::completed;
        batch.at(BatchStatus::completed) = 10;
        store.end_batch(batch, BatchStatus::finalizing);
      },
      [](BatchStore& store) {
        if (const auto file = store.find_file("in", "alice")) store.remove_file(*file);
      },
  };
}

/// In a process of its own, which ends without a destructor, as one that is killed.
void run_and_die(const fs::path& folder, size_t num_steps) {
  const pid_t child = fork();
  if (child == 0) {
    try {
      BatchStore store(folder);
      const auto all = steps(folder);
      for (size_t i = 0; i < num_steps; ++i) all[i](store);
      _exit(0);
    } catch (const std::exception& error) {
      fprintf(stderr, "%s\n", error.what());
      _exit(1);
    }
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "after " << num_steps << " steps";
}

TEST_F(Store, GoesOnAfterADeathBetweenAnyTwoSteps) {
  const size_t num_steps = steps(folder_).size();
  for (size_t killed = 0; killed <= num_steps; ++killed) {
    fs::remove_all(folder_);
    run_and_die(folder_, killed);
    if (HasFatalFailure()) return;
    BatchStore store(folder_);
    EXPECT_EQ(static_cast<int64_t>(num_files_on_disk()), store.num_files()) << "what no row names is swept";
    if (killed >= 4) {
      EXPECT_TRUE(has_ended(store.find_batch(1)->status) || store.has_result(1, 1));
    }
    auto rest = steps(folder_);
    rest.pop_back();  // keeps the input
    rest.erase(rest.begin() + 7, rest.begin() + 9);
    for (const auto& step : rest) step(store);
    const auto batch = store.find_batch(1);
    ASSERT_TRUE(batch.has_value()) << killed;
    EXPECT_EQ(batch->status, BatchStatus::completed);
    EXPECT_EQ(batch->completed, 2) << killed;
    EXPECT_EQ(batch->failed, 1);
    EXPECT_EQ(batch->metadata, R"({"a":"b"})");
    EXPECT_EQ(batch->at(BatchStatus::validating), 7);
    EXPECT_FALSE(batch->at(BatchStatus::cancelled).has_value());
    EXPECT_EQ(content_of(store, batch->output_file), "line 1\nline 3\n");
    EXPECT_EQ(content_of(store, batch->error_file), "line 2\n");
    EXPECT_TRUE(store.find_file(batch->output_file, "alice").has_value());
    EXPECT_EQ(store.num_files(), 3) << "input, output and errors";
  }
}

TEST_F(Store, AKilledTransactionLeavesNothing) {
  run_and_die(folder_, 3);
  const pid_t child = fork();
  if (child == 0) {  // dies inside a transaction that has inserted
    Database database(folder_ / "batches.sqlite3");
    database.execute("BEGIN IMMEDIATE; INSERT INTO results VALUES (1, 1, 0, 'half'); UPDATE batches SET completed = 1");
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  BatchStore store(folder_);
  EXPECT_FALSE(store.has_result(1, 1));
  EXPECT_EQ(store.find_batch(1)->completed, 0);
}

}  // namespace
}  // namespace echelon
