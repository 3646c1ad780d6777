// Positions in streams, and the journal's file: what it gives back, whatever happened to the process or to the file.
#include "frontend/journal/journal.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "frontend/journal/event_position.h"
#include "kernels/base/error.h"

namespace echelon {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

TEST(EventPositions, AreReadAsTheyWereWritten) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    const size_t num_choices = 1 + random() % 16;
    EventPosition position(num_choices);
    for (size_t lane = 0; lane < num_choices + 2; ++lane) position[lane] = random() >> random() % 32;
    const auto read = EventPosition::parse(position.text(), num_choices);
    ASSERT_TRUE(read) << position.text();
    EXPECT_EQ(read->text(), position.text());
    EXPECT_FALSE(EventPosition::parse(position.text(), num_choices + 1));
    EXPECT_FALSE(EventPosition::parse(position.text(), num_choices - 1));
  }
}

TEST(EventPositions, AnythingElseIsRefused) {
  for (const char* text : {"", ".", "1", "1.2", "1.2.", "1.2.3.", ".1.2.3", "1.2.x", "1.-2.3", "1. 2.3",
                           "1.2.4294967296", "1.2.99999999999999999999", "1,2,3", "1.2.3 ", "+1.2.3", "0x1.2.3"})
    EXPECT_FALSE(EventPosition::parse(text, 1)) << text;
  EXPECT_TRUE(EventPosition::parse("4294967295.0.7", 1));
  for (const char* text : {"", "/", "a/", "/1.2.3", "a"}) EXPECT_FALSE(EventId::parse(text)) << text;
  const auto id = EventId::parse("chatcmpl-a:b.c/1.2.3");
  ASSERT_TRUE(id);
  EXPECT_EQ(id->stream, "chatcmpl-a:b.c");
  EXPECT_EQ(id->position, "1.2.3");
}

class JournalFile : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("echelon_journal_" + std::to_string(getpid()));
    fs::remove_all(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  static StoredStream some_stream(const std::string& id, const std::string& tenant = "") {
    return {.id = id,
            .tenant = tenant,
            .path = "/v1/completions",
            .body = std::string("{\"prompt\": \"\xc3\xa4\\u0000\"}"),
            .fingerprint = "bits",
            .began_unix_ms = 1'700'000'000'123,
            .seed = ~uint64_t{0} - 5,
            .prompts = {{1, 2, 3}, {}, {0, 1 << 30}},
            .choices = {}};
  }
  static void add_tokens(Journal& journal, int64_t stream, size_t choice, int begin, int end) {
    for (int i = begin; i < end; ++i)
      journal.add(stream, choice, static_cast<size_t>(i), 100 * static_cast<int>(choice) + i);
  }
  static std::vector<TokenId> tokens(int choice, int end) {
    std::vector<TokenId> all;
    for (int i = 0; i < end; ++i) all.push_back(100 * choice + i);
    return all;
  }

  fs::path folder_;
};

TEST_F(JournalFile, GivesBackWhatItWasGiven) {
  for (const bool reopened : {false, true}) {
    std::optional<Journal> journal(std::in_place, folder_, 60s);
    if (!reopened) {
      const auto number = journal->begin(some_stream("a"));
      ASSERT_TRUE(number);
      add_tokens(*journal, *number, 2, 0, 7);
      add_tokens(*journal, *number, 0, 0, 3);
      journal->finish(*number, 0, 3, FinishReason::stop, 2);
    }
    const auto stream = journal->find("a", "");
    ASSERT_TRUE(stream);
    const StoredStream given = some_stream("a");
    EXPECT_EQ(stream->path, given.path);
    EXPECT_EQ(stream->body, given.body);
    EXPECT_EQ(stream->fingerprint, given.fingerprint);
    EXPECT_EQ(stream->began_unix_ms, given.began_unix_ms);
    EXPECT_EQ(stream->seed, given.seed);
    EXPECT_EQ(stream->prompts, given.prompts);
    ASSERT_EQ(stream->choices.size(), 3u);
    EXPECT_EQ(stream->choices[0].tokens, tokens(0, 3));
    EXPECT_EQ(stream->choices[0].finish, FinishReason::stop);
    EXPECT_EQ(stream->choices[0].stop_token, 2);
    EXPECT_TRUE(stream->choices[1].tokens.empty());
    EXPECT_EQ(stream->choices[2].tokens, tokens(2, 7));
    EXPECT_FALSE(stream->choices[2].finish);
    EXPECT_FALSE(journal->find("b", ""));
    EXPECT_FALSE(journal->find("a", "somebody else"));
  }
}

TEST_F(JournalFile, AnIdIsItsTenantsAndTheNewestOfItsName) {
  Journal journal(folder_, 60s);
  const auto mine = journal.begin(some_stream("a", "me")), yours = journal.begin(some_stream("a", "you"));
  ASSERT_TRUE(mine && yours);
  add_tokens(journal, *mine, 0, 0, 5);
  EXPECT_EQ(journal.find("a", "me")->choices.at(0).tokens, tokens(0, 5));
  EXPECT_TRUE(journal.find("a", "you")->choices.empty());
  const auto again = journal.begin(some_stream("a", "me"));
  ASSERT_TRUE(again);
  add_tokens(journal, *mine, 0, 5, 9);  // of the one before, which nobody can ask for any more
  EXPECT_TRUE(journal.find("a", "me")->choices.empty());
  EXPECT_EQ(journal.metrics().stored.load(), 2);
  EXPECT_EQ(journal.metrics().faults.load(), 0u);
}

TEST_F(JournalFile, TokensThatComeTwiceCountOnceAndAHoleEndsThem) {
  Journal journal(folder_, 60s);
  const auto number = journal.begin(some_stream("a"));
  ASSERT_TRUE(number);
  add_tokens(journal, *number, 0, 0, 6);
  journal.find("a", "");
  add_tokens(journal, *number, 0, 2, 9);  // by two sessions that go on with one stream
  add_tokens(journal, *number, 0, 0, 4);
  EXPECT_EQ(journal.find("a", "")->choices.at(0).tokens, tokens(0, 9));
  add_tokens(journal, *number, 0, 11, 14);
  EXPECT_EQ(journal.find("a", "")->choices.at(0).tokens, tokens(0, 9));
  journal.finish(*number, 0, 14, FinishReason::length, std::nullopt);
  EXPECT_FALSE(journal.find("a", "")->choices.at(0).finish);
  add_tokens(journal, *number, 0, 9, 14);
  const StoredChoice choice = journal.find("a", "")->choices.at(0);
  EXPECT_EQ(choice.tokens, tokens(0, 14));
}

TEST_F(JournalFile, OutlivesAProcessThatIsKilled) {
  for (int round = 0; round < 5; ++round) {
    int pipe_ends[2];
    ASSERT_EQ(pipe(pipe_ends), 0);
    const pid_t child = fork();
    if (child == 0) {
      Journal journal(folder_, 60s);
      const auto number = journal.begin(some_stream(std::to_string(round)));
      if (!number) _exit(1);
      add_tokens(journal, *number, 0, 0, 50);
      std::this_thread::sleep_for(round == 0 ? 0ms : 300ms);
      if (write(pipe_ends[1], "x", 1) != 1) _exit(2);
      for (int i = 50;; ++i) journal.add(*number, 0, static_cast<size_t>(i), i);
    }
    char ready = 0;
    ASSERT_EQ(read(pipe_ends[0], &ready, 1), 1);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    Journal journal(folder_, 60s);
    for (int known = 0; known <= round; ++known) {
      const auto stream = journal.find(std::to_string(known), "");
      ASSERT_TRUE(stream) << known;
      if (known == 0 && stream->choices.empty()) continue;
      const std::vector<TokenId>& got = stream->choices.at(0).tokens;
      EXPECT_GE(got.size(), known > 0 ? 50u : 0u);
      EXPECT_EQ(got, tokens(0, static_cast<int>(got.size())));
    }
  }
}

TEST_F(JournalFile, StreamsAreForgotten) {
  {
    Journal journal(folder_, 60s);
    const auto number = journal.begin(some_stream("a"));
    add_tokens(journal, *number, 0, 0, 5);
  }
  std::this_thread::sleep_for(2100ms);
  Journal journal(folder_, 1s);
  EXPECT_FALSE(journal.find("a", ""));
  EXPECT_EQ(journal.metrics().stored.load(), 0);
}

TEST_F(JournalFile, ASecondServerIsRefused) {
  Journal journal(folder_, 60s);
  try {
    Journal second(folder_, 60s);
    FAIL() << "two servers have one journal";
  } catch (const Error& fault) {
    EXPECT_NE(std::string(fault.what()).find("another server uses it"), std::string::npos) << fault.what();
  }
}

TEST_F(JournalFile, AFileOfSomethingElseIsRefusedByName) {
  fs::create_directories(folder_);
  std::ofstream(folder_ / "journal.sqlite3") << std::string(10'000, 'x');
  try {
    Journal journal(folder_, 60s);
    FAIL() << "it opened";
  } catch (const Error& fault) {
    EXPECT_NE(std::string(fault.what()).find("journal.sqlite3"), std::string::npos) << fault.what();
  }
}

/// Rows as a stranger may have written them: an answer or nothing, and never a crash.
TEST_F(JournalFile, RowsThatCannotBeAreNotFound) {
  std::mt19937 random(3);
  for (int round = 0; round < 60; ++round) {
    fs::remove_all(folder_);
    {
      Journal journal(folder_, 60s);
      const auto number = journal.begin(some_stream("a"));
      add_tokens(journal, *number, 0, 0, 5);
      journal.finish(*number, 0, 5, FinishReason::length, std::nullopt);
    }
    {
      Database database(folder_ / "journal.sqlite3", Database::Users::one);
      std::string bytes;
      for (uint32_t i = random() % 24; i > 0; --i) bytes += static_cast<char>(random());
      const int64_t number = static_cast<int64_t>(random()) << (random() % 33);
      switch (round % 4) {
        case 0:
          database.prepare("UPDATE streams SET prompts = ?1").bind(Blob{bytes}).run();
          break;
        case 1:
          database.prepare("UPDATE pieces SET tokens = ?1").bind(Blob{bytes}).run();
          break;
        case 2:
          database.prepare("UPDATE pieces SET choice = ?1, position = ?2").bind(number - 7, number).run();
          break;
        case 3:
          database.prepare("UPDATE pieces SET finish = ?1").bind(number).run();
          break;
      }
    }
    Journal journal(folder_, 60s);
    const auto stream = journal.find("a", "");
    if (!stream) {
      EXPECT_EQ(journal.metrics().faults.load(), 1u);
    } else {
      EXPECT_LE(stream->choices.size(), size_t{1} << 12);
    }
  }
}

}  // namespace
}  // namespace echelon
