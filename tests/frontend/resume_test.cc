// Streams that go on: over the real server and its journal, cut at every event, in every shape that streams.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <regex>

#include "frontend/storage/sqlite.h"
#include "tests/frontend/front_end_test.h"
#include "tests/frontend/http_client.h"

namespace echelon {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using testing::ask;
using testing::becomes_true;
using testing::get_text;
using testing::HttpClient;
using testing::post_text;

struct StreamEvent {
  std::string id, text;  ///< text: all lines but the id's
};

std::vector<StreamEvent> events_of(std::string_view body) {
  std::vector<StreamEvent> events;
  while (!body.empty()) {
    const size_t end = body.find("\n\n");
    if (end == body.npos) break;  // cut off
    std::string_view event = body.substr(0, end);
    body.remove_prefix(end + 2);
    StreamEvent read;
    if (event.starts_with("id: ")) {
      const size_t line = event.find('\n');
      read.id = event.substr(4, line - 4);
      event.remove_prefix(line + 1);
    }
    read.text = event;
    if (!event.starts_with(':')) events.push_back(std::move(read));
  }
  return events;
}

class Resume : public testing::FrontEndTest {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("echelon_resume_" + std::to_string(getpid()));
    fs::remove_all(folder_);
  }
  void TearDown() override {
    front_.reset();
    fs::remove_all(folder_);
  }
  void start_again(ServerOptions options = {}) {
    options.journal_dir = folder_.string();
    front_.reset();
    start(options);
  }
  std::vector<StreamEvent> stream(const std::string& path, const std::string& body) {
    const auto response = ask(port_, post_text(path, body));
    EXPECT_EQ(response.status, 200) << response.body;
    return events_of(response.body);
  }
  static std::string resume_text(const std::string& path, const std::string& last_event_id) {
    const std::string id = last_event_id.substr(0, last_event_id.find('/'));
    return post_text(path + "/" + id + "/resume", "", fmt::format("Last-Event-ID: {}\r\n", last_event_id));
  }
  testing::ClientResponse resume(const std::string& path, const std::string& last_event_id) {
    return ask(port_, resume_text(path, last_event_id));
  }
  /// Sends, and leaves behind so many events. What came.
  std::vector<StreamEvent> cut_after(size_t num_events, const std::string& request) {
    HttpClient client(port_);
    client.send(request);
    const auto payload = [&] {
      const size_t head = client.received().find("\r\n\r\n");
      if (head == std::string::npos) return std::string();
      std::string bytes;  // chunks are events' bytes between their lengths
      std::string_view rest = std::string_view(client.received()).substr(head + 4);
      while (!rest.empty()) {
        const size_t line = rest.find("\r\n");
        if (line == rest.npos) break;
        const size_t size = std::stoul(std::string(rest.substr(0, line)), nullptr, 16);
        if (rest.size() < line + 2 + size) break;
        bytes += rest.substr(line + 2, size);
        rest.remove_prefix(std::min(rest.size(), line + 2 + size + 2));
      }
      return bytes;
    };
    std::vector<StreamEvent> events;
    const auto is_whole = [&] { return !events.empty() && events.back().text == "data: [DONE]"; };
    while (events.size() < num_events && !is_whole() && client.receive()) events = events_of(payload());
    client.leave();
    if (events.size() > num_events) events.resize(num_events);
    return events;
  }

  fs::path folder_;
};

struct Shape {
  const char* name;
  const char* path;
  const char* body;
};

const Shape kShapes[] = {
    {"chat", "/v1/chat/completions", R"({"messages":[{"role":"user","content":"hi"}],"max_tokens":23,"stream":true})"},
    {"completion", "/v1/completions", R"({"prompt":"hello","max_tokens":17,"stream":true,"seed":7})"},
    {"stop string", "/v1/completions", R"({"prompt":"abc","max_tokens":40,"stream":true,"stop":[" "]})"},
    {"echo", "/v1/completions", R"({"prompt":"hello","max_tokens":9,"stream":true,"echo":true})"},
    {"logprobs", "/v1/completions", R"({"prompt":"hello","max_tokens":9,"stream":true,"logprobs":2,"echo":true})"},
    {"usage", "/v1/completions",
     R"({"prompt":"hello","max_tokens":9,"stream":true,"stream_options":{"include_usage":true}})"},
    {"response", "/v1/responses", R"({"input":"hi","max_output_tokens":20,"stream":true})"},
    {"messages", "/v1/messages",
     R"({"messages":[{"role":"user","content":"hi"}],"max_tokens":20,"stream":true,"model":"small"})"},
    {"choices", "/v1/completions", R"({"prompt":["ab","cd"],"n":3,"max_tokens":12,"stream":true})"},
    {"choices with stops", "/v1/chat/completions",
     R"({"messages":[{"role":"user","content":"hi"}],"n":4,"max_tokens":30,"stream":true,"stop":["a","q"]})"},
};

/// cached_tokens tell how an answer was made, not what it is.
std::string without_cached(std::string text) {
  const size_t at = text.find("\"cached_tokens\":");
  return at == text.npos ? text : text.substr(0, at) + text.substr(text.find('}', at));
}

/// Without what is drawn at random for every answer, and the time.
std::vector<StreamEvent> nameless(std::vector<StreamEvent> events) {
  const std::string id = events.front().id.substr(0, events.front().id.find('/'));
  const std::string digits = id.substr(id.find_first_of("-_") + 1);
  static const std::regex numbers("\"(seed|created|created_at|completed_at)\":[0-9]+");
  for (StreamEvent& event : events) {
    for (size_t at = event.text.find(digits); at != event.text.npos; at = event.text.find(digits))
      event.text.replace(at, digits.size(), "ID");
    event.text = std::regex_replace(event.text, numbers, "\"$1\":0");
  }
  return events;
}

/// Of each choice its events in their order, and of all that is no choice's.
std::map<int64_t, std::vector<std::string>> by_choice(const std::vector<StreamEvent>& events) {
  std::map<int64_t, std::vector<std::string>> lanes;
  for (const StreamEvent& event : events) {
    int64_t lane = -1;
    if (event.text.starts_with("data: {")) {
      const json::value data = json::parse(event.text.substr(6));
      if (const auto* choices = data.as_object().if_contains("choices"); choices && !choices->as_array().empty())
        lane = choices->at(0).at("index").to_number<int64_t>();
    }
    lanes[lane].push_back(without_cached(event.text));
  }
  return lanes;
}

TEST_F(Resume, EveryShapeGoesOnBehindEveryEvent) {
  start_again();
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(shape.name);
    const auto whole = stream(shape.path, shape.body);
    ASSERT_GT(whole.size(), 4u);
    for (size_t cut = 0; cut < whole.size(); ++cut) {
      ASSERT_FALSE(whole[cut].id.empty());
      if (cut % 5 == 3) start_again();
      const auto response = resume(shape.path, whole[cut].id);
      ASSERT_EQ(response.status, 200) << response.body;
      const auto rest = events_of(response.body);
      std::vector<StreamEvent> all(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(cut) + 1);
      all.insert(all.end(), rest.begin(), rest.end());
      EXPECT_EQ(by_choice(all), by_choice(whole)) << "cut behind event " << cut;
      if (!rest.empty()) {
        EXPECT_EQ(rest.back().id, whole.back().id);
      }
    }
  }
}

TEST_F(Resume, AStreamThatItsServerLostGoesOnBehindTheTokensThatAreKept) {
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(shape.name);
    engine_.token_delay_us = 0;
    start_again();
    const auto whole = stream(shape.path, shape.body);
    for (const size_t cut : {size_t{1}, whole.size() / 2, whole.size() - 2}) {
      engine_.token_delay_us = 2000;
      const int resumed_before = engine_.num_resumed_tokens;
      auto all = cut_after(cut, post_text(shape.path, shape.body));
      ASSERT_EQ(all.size(), cut);
      ASSERT_TRUE(becomes_true([&] { return engine_.num_running() == 0; }));
      engine_.token_delay_us = 0;
      start_again();
      const auto response = resume(shape.path, all.back().id);
      ASSERT_EQ(response.status, 200) << response.body;
      for (auto& event : events_of(response.body)) all.push_back(std::move(event));
      EXPECT_EQ(by_choice(nameless(all)), by_choice(nameless(whole))) << "cut behind event " << cut;
      if (std::string_view(shape.name) == "logprobs") {
        EXPECT_EQ(engine_.num_resumed_tokens, resumed_before) << "all of it is made again";
      } else if (cut == whole.size() / 2) {
        EXPECT_GT(engine_.num_resumed_tokens, resumed_before);
      }
    }
  }
}

TEST_F(Resume, ChoicesAreToldAgainWithTheTextThatTheyHad) {
  start_again();
  engine_.token_delay_us = 2000;
  const std::string body = R"({"prompt":[[5],[6]],"n":2,"max_tokens":40,"stream":true})";
  auto all = cut_after(31, post_text("/v1/completions", body));
  ASSERT_EQ(all.size(), 31u);
  start_again();
  while (all.back().text != "data: [DONE]") {  // cut off again and again
    const auto part = cut_after(17, resume_text("/v1/completions", all.back().id));
    ASSERT_FALSE(part.empty());
    all.insert(all.end(), part.begin(), part.end());
  }
  std::map<int64_t, std::string> texts;
  for (const auto& [lane, events] : by_choice(all)) {
    for (const std::string& event : events) {
      if (lane >= 0) texts[lane] += json::parse(event.substr(6)).at("choices").at(0).at("text").as_string();
    }
  }
  for (int choice = 0; choice < 4; ++choice)
    EXPECT_EQ(texts[choice], testing::scripted_text({choice < 2 ? 5 : 6}, choice % 2, 40)) << choice;
}

TEST_F(Resume, TheSameRequestWithLastEventIdGoesOn) {
  start_again();
  const std::string body = R"({"prompt":"hello","max_tokens":20,"stream":true})";
  const auto whole = stream("/v1/completions", body);
  const auto response =
      ask(port_, post_text("/v1/completions", body, fmt::format("Last-Event-ID: {}\r\n", whole[9].id)));
  ASSERT_EQ(response.status, 200);
  const auto rest = events_of(response.body);
  ASSERT_EQ(rest.size(), whole.size() - 10);
  EXPECT_EQ(rest.front().id, whole[10].id);
  EXPECT_EQ(rest.front().text, whole[10].text);
  EXPECT_EQ(engine_.num_submitted, 1) << "all of it had been kept";
}

TEST_F(Resume, WhatCannotGoOnIsRefused) {
  const auto code = [](const testing::ClientResponse& response) {
    return fmt::format("{} {}", response.status, std::string(response.json().at("error").at("code").as_string()));
  };
  start_again({.api_keys = {"one", "two"}});
  const std::string body = R"({"prompt":"hello","max_tokens":20,"stream":true})", key = "Authorization: Bearer one\r\n";
  const auto answer = ask(port_, post_text("/v1/completions", body, key));
  const auto whole = events_of(answer.body);
  ASSERT_EQ(whole.size(), 21u);
  const std::string last = whole[3].id, id = last.substr(0, last.find('/'));
  const auto asked = [&](const std::string& path, const std::string& event, const std::string& fields) {
    return ask(port_, post_text(path, "", (event.empty() ? "" : "Last-Event-ID: " + event + "\r\n") + fields));
  };
  const std::string path = "/v1/completions/" + id + "/resume";
  EXPECT_EQ(asked(path, last, key).status, 200);
  EXPECT_EQ(events_of(asked(path, "", key).body).size(), 21u);
  EXPECT_EQ(code(asked(path, last, "")), "401 invalid_api_key");
  EXPECT_EQ(code(asked(path, last, "Authorization: Bearer two\r\n")), "404 stream_not_found");
  EXPECT_EQ(code(asked("/v1/completions/cmpl-nothing/resume", "", key)), "404 stream_not_found");
  EXPECT_EQ(code(asked("/v1/chat/completions/" + id + "/resume", last, key)), "404 stream_not_found");
  EXPECT_EQ(code(asked(path, "cmpl-nothing/1.2.3", key)), "400 invalid_event_id");
  for (const char* position : {"/1.2", "/1.2.3.4", "/x", "", "/1.2.99999999999"})
    EXPECT_EQ(code(asked(path, id + position, key)), "400 invalid_event_id") << position;
  EXPECT_EQ(asked(path, id + "/0.4000000000.0", key).status, 200) << "nothing but the end is left of it";
  EXPECT_EQ(code(asked("/v1/completions", "nonsense", key)), "400 invalid_event_id");

  front_.reset();
  const auto other = std::make_shared<ModelInfo>(*engine_.model());
  other->fingerprint = "other bits";
  testing::ScriptEngine engine(other);
  ServerOptions options{.port = 0, .api_keys = {"one"}, .journal_dir = folder_.string()};
  FrontEnd front(options, engine);
  front.start();
  port_ = front.port();
  EXPECT_EQ(code(asked(path, last, key)), "409 stream_of_another_model");
}

TEST_F(Resume, TokensThatTheModelDoesNotHaveAreRefused) {
  for (const char* damage : {"UPDATE pieces SET tokens = x'00000040'", "UPDATE pieces SET tokens = x'FFFFFFFF'",
                             "UPDATE streams SET prompts = x'0100000000000040'"}) {
    start_again();
    const auto whole = stream("/v1/completions", R"({"prompt":"hello","max_tokens":5,"stream":true})");
    front_.reset();
    Database(folder_ / "journal.sqlite3", Database::Users::one).execute(damage);
    start_again();
    EXPECT_EQ(resume("/v1/completions", whole.at(2).id).status, 409) << damage;
  }
}

TEST_F(Resume, WithoutAJournalThereAreNoIds) {
  start();
  const auto whole = stream("/v1/completions", R"({"prompt":"hello","max_tokens":5,"stream":true})");
  ASSERT_EQ(whole.size(), 6u);
  for (const auto& event : whole) EXPECT_TRUE(event.id.empty());
  EXPECT_EQ(ask(port_, post_text("/v1/completions/cmpl-a/resume", "")).status, 404);
}

TEST_F(Resume, AFailureHasNoIdAndTheStreamGoesOnBehindIt) {
  start_again();
  engine_.fail_after = 7;
  const std::string body = R"({"prompt":"hello","max_tokens":12,"stream":true})";
  auto all = stream("/v1/completions", body);
  ASSERT_EQ(all.size(), 9u) << "seven tokens, the error, [DONE]";
  EXPECT_TRUE(all[7].id.empty());
  EXPECT_TRUE(all[8].id.empty());
  engine_.fail_after = -1;
  all.resize(7);
  for (auto& event : events_of(resume("/v1/completions", all.back().id).body)) all.push_back(std::move(event));
  EXPECT_EQ(by_choice(all),
            by_choice(events_of(
                resume("/v1/completions", all.front().id.substr(0, all.front().id.find('/')) + "/0.0.0").body)));
  EXPECT_EQ(all.size(), 13u);
}

TEST_F(Resume, ALongAnswerThatIsToldAgainDoesNotMakeItsReaderSlow) {
  ServerOptions options;
  options.stream_buffer_bytes = 4096;
  start_again(options);
  const std::string body = R"({"prompt":"hello","max_tokens":600,"stream":true})";
  engine_.token_delay_us = 500;
  auto all = cut_after(500, post_text("/v1/completions", body));
  ASSERT_EQ(all.size(), 500u);
  start_again(options);
  const std::string id = all.front().id.substr(0, all.front().id.find('/'));
  EXPECT_EQ(events_of(resume("/v1/completions", id + "/0.0.0").body).size(), 601u);
}

TEST_F(Resume, MetricsTell) {
  start_again();
  const auto whole = stream("/v1/completions", R"({"prompt":"hello","max_tokens":5,"stream":true})");
  resume("/v1/completions", whole[2].id);
  const std::string text = ask(port_, get_text("/metrics")).body;
  for (const auto& [name, value] : {std::pair("echelon_journal_streams_total", 1),
                                    {"echelon_resumed_streams_total", 1},
                                    {"echelon_journal_stored_streams", 1},
                                    {"echelon_journal_faults_total", 0}}) {
    const std::string line = fmt::format("{}{{model_name=\"{}\"}} {}\n", name, engine_.model()->name, value);
    EXPECT_NE(text.find(line), std::string::npos) << line;
  }
}

}  // namespace
}  // namespace echelon
