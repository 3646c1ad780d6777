// Files and batches through the real server with a scripted engine: shapes, owners, limits, what goes on at a restart,
// and that users come first.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <filesystem>
#include <set>

#include "frontend/batch/executor.h"
#include "frontend/batch/store.h"
#include "frontend/front_end.h"
#include "frontend/model_endpoint.h"
#include "tests/frontend/http_client.h"
#include "tests/frontend/script_engine.h"

namespace echelon {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using testing::ask;
using testing::becomes_true;
using testing::ClientResponse;
using ::testing::ElementsAre;
using testing::get_text;
using testing::post_text;
using testing::scripted_json;
using testing::ScriptEngine;

std::string line_of(const std::string& id, const std::string& prompt, int max_tokens = 4,
                    const std::string& more = "") {
  return fmt::format(R"({{"custom_id":"{}","method":"POST","url":"/v1/completions","body":{{"model":"small",)"
                     R"("prompt":"{}","max_tokens":{}{}}}}})"
                     "\n",
                     id, prompt, max_tokens, more);
}

class Batches : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("echelon_batches_" + std::to_string(getpid()));
    fs::remove_all(folder_);
  }
  void TearDown() override {
    front_.reset();
    fs::remove_all(folder_);
  }
  void start(ServerOptions options = {}) {
    options.port = 0;
    options.batch_dir = folder_.string();
    options.batch_running = 3;
    front_.reset();
    front_.emplace(options, engine_);
    front_->start();
    port_ = front_->port();
  }
  std::string fields(std::string_view more = "") const {
    return (key_.empty() ? "" : "Authorization: Bearer " + key_ + "\r\n") + std::string(more);
  }
  ClientResponse get(std::string_view path) const { return ask(port_, get_text(path, fields())); }
  ClientResponse post(std::string_view path, std::string_view body) const {
    return ask(port_, post_text(path, body, fields()));
  }
  ClientResponse remove(std::string_view path) const {
    return ask(port_, fmt::format("DELETE {} HTTP/1.1\r\nHost: a\r\n{}\r\n", path, fields()));
  }
  ClientResponse upload(std::string_view content, std::string_view purpose = "batch") const {
    const std::string body = fmt::format(
        "--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\n{}\r\n--b\r\nContent-Disposition: form-data; "
        "name=\"file\"; filename=\"in.jsonl\"\r\nContent-Type: application/octet-stream\r\n\r\n{}\r\n--b--\r\n",
        purpose, content);
    return ask(port_, fmt::format("POST /v1/files HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; "
                                  "boundary=b\r\nContent-Length: {}\r\n{}\r\n{}",
                                  body.size(), fields(), body));
  }
  std::string file_of(std::string_view content) const {
    const auto response = upload(content);
    EXPECT_EQ(response.status, 200) << response.body;
    return std::string(response.json().at("id").as_string());
  }
  std::string batch_of(std::string_view content, std::string_view endpoint = "/v1/completions") const {
    const auto response = post("/v1/batches", fmt::format(R"({{"input_file_id":"{}","endpoint":"{}",)"
                                                          R"("completion_window":"24h","metadata":{{"a":"b"}}}})",
                                                          file_of(content), endpoint));
    EXPECT_EQ(response.status, 200) << response.body;
    return std::string(response.json().at("id").as_string());
  }
  json::value batch(const std::string& id) const { return get("/v1/batches/" + id).json(); }
  json::value ended(const std::string& id, std::string_view status = "completed") const {
    EXPECT_TRUE(becomes_true([&] { return batch(id).at("status") == json::value(status); }))
        << json::serialize(batch(id));
    return batch(id);
  }
  /// Lines of a file by custom_id; each once.
  std::map<std::string, json::value> lines(const json::value& file_id) const {
    std::map<std::string, json::value> found;
    if (!file_id.is_string()) return found;
    const std::string text = get(fmt::format("/v1/files/{}/content", std::string(file_id.as_string()))).body;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = text.find('\n', begin);
      EXPECT_NE(end, std::string::npos);
      const json::value line = json::parse(text.substr(begin, end - begin));
      EXPECT_TRUE(found.emplace(std::string(line.at("custom_id").as_string()), line).second) << "twice";
      begin = end + 1;
    }
    return found;
  }
  static std::string code_of(const ClientResponse& response) {
    const json::value code = response.json().at("error").at("code");
    return code.is_null() ? "" : std::string(code.as_string());
  }

  fs::path folder_;
  ScriptEngine engine_;
  std::optional<FrontEnd> front_;
  uint16_t port_ = 0;
  std::string key_;
};

TEST_F(Batches, AreAnsweredLineByLine) {
  start();
  std::string content;
  for (int i = 0; i < 20; ++i) content += line_of(fmt::format("id-{}", i), fmt::format("p{}", i));
  content += line_of("bad", "x", 4, R"(,"temperature":-1)") + line_of("streams", "x", 4, R"(,"stream":true)");
  const std::string id = batch_of(content);
  const json::value done = ended(id);
  EXPECT_EQ(done.at("request_counts"), (json::value{{"total", 22}, {"completed", 20}, {"failed", 2}}));
  const std::string metrics = get("/metrics").body;
  for (const auto* line : {"result=\"answered\"} 20\n", "result=\"failed\"} 2\n"})
    EXPECT_NE(metrics.find(line), std::string::npos) << metrics;
  EXPECT_EQ(done.at("metadata"), (json::value{{"a", "b"}}));
  EXPECT_TRUE(done.at("errors").is_null());
  for (const auto* time : {"created_at", "in_progress_at", "finalizing_at", "completed_at", "expires_at"})
    EXPECT_TRUE(done.at(time).is_int64()) << time;
  for (const auto* time : {"failed_at", "expired_at", "cancelling_at", "cancelled_at"})
    EXPECT_TRUE(done.at(time).is_null()) << time;
  const auto output = lines(done.at("output_file_id"));
  ASSERT_EQ(output.size(), 20u);
  for (int i = 0; i < 20; ++i) {
    const json::value& response = output.at(fmt::format("id-{}", i)).at("response");
    EXPECT_EQ(response.at("status_code"), 200);
    const std::vector<TokenId> prompt = engine_.model()->tokenizer->encode(fmt::format("p{}", i), {});
    EXPECT_EQ(response.at("body").at("choices").at(0).at("text"), scripted_json(prompt, 0, 4));
    EXPECT_EQ(response.at("body").at("usage").at("completion_tokens"), 4);
  }
  const auto errors = lines(done.at("error_file_id"));
  ASSERT_EQ(errors.size(), 2u);
  EXPECT_EQ(errors.at("bad").at("response").at("status_code"), 400);
  EXPECT_EQ(errors.at("bad").at("response").at("body").at("error").at("param"), "temperature");
  EXPECT_EQ(errors.at("streams").at("response").at("body").at("error").at("param"), "stream");
  EXPECT_EQ(get("/v1/files").json().at("data").as_array().size(), 3u);
  EXPECT_EQ(get("/v1/files?purpose=batch_output").json().at("data").as_array().size(), 2u);
}

TEST_F(Batches, TakeChatsResponsesAndEmbeddings) {
  start();
  const std::string chat = batch_of(
      R"({"custom_id":"c","method":"POST","url":"/v1/chat/completions","body":{"model":"small","max_tokens":3,)"
      R"("logprobs":true,"top_logprobs":2,"prompt_logprobs":1,"messages":[{"role":"user","content":"a"}]}})",
      "/v1/chat/completions");
  const auto body = lines(ended(chat).at("output_file_id")).at("c").at("response").at("body");
  EXPECT_EQ(body.at("object"), "chat.completion");
  EXPECT_EQ(body.at("choices").at(0).at("logprobs").at("content").at(0).at("top_logprobs").as_array().size(), 2u);
  EXPECT_GT(body.at("prompt_logprobs").as_array().size(), 3u);
  const std::string response =
      batch_of(R"({"custom_id":"r","method":"POST","url":"/v1/responses","body":{"model":"small","input":"a"}})",
               "/v1/responses");
  EXPECT_EQ(lines(ended(response).at("output_file_id")).at("r").at("response").at("body").at("object"), "response");
  const std::string embeddings = batch_of(
      R"({"custom_id":"e","method":"POST","url":"/v1/embeddings","body":{"model":"small","input":["a","b"]}})"
      "\n"
      R"({"custom_id":"f","method":"POST","url":"/v1/embeddings","body":{"model":"small","input":"a","dimensions":9}})",
      "/v1/embeddings");
  const json::value batch = ended(embeddings);
  const auto embedded = lines(batch.at("output_file_id")).at("e").at("response").at("body");
  EXPECT_EQ(embedded.at("data").as_array().size(), 2u);
  EXPECT_EQ(embedded.at("data").at(1).at("embedding").as_array().size(), size_t{testing::kSmallHidden});
  EXPECT_EQ(lines(batch.at("error_file_id")).at("f").at("response").at("body").at("error").at("param"), "dimensions");
}

TEST_F(Batches, FaultsOfTheFileAreTold) {
  start();
  const std::string id = batch_of(line_of("a", "x") + "{}\n" + line_of("a", "y"));
  const json::value failed = ended(id, "failed");
  const json::value& errors = failed.at("errors").at("data");
  ASSERT_EQ(errors.as_array().size(), 2u);
  EXPECT_EQ(errors.at(0).at("line"), 2);
  EXPECT_EQ(errors.at(1).at("line"), 3);
  EXPECT_EQ(errors.at(1).at("code"), "duplicate_custom_id");
  EXPECT_TRUE(failed.at("output_file_id").is_null());
  EXPECT_EQ(engine_.num_submitted.load(), 0);
}

TEST_F(Batches, BadRequestsAreNamed) {
  start();
  const std::string file = file_of(line_of("a", "x"));
  const auto refused = [&](const std::string& members) {
    const auto response = post("/v1/batches", "{" + members + "}");
    EXPECT_EQ(response.status, 400) << response.body;
    const json::value param = response.json().at("error").at("param");
    return param.is_null() ? "" : std::string(param.as_string());
  };
  const std::string input = R"("input_file_id":")" + file + "\"", url = R"("endpoint":"/v1/completions")",
                    window = R"("completion_window":"24h")";
  EXPECT_EQ(refused(url + "," + window), "input_file_id");
  EXPECT_EQ(refused(R"("input_file_id":"file-no",)" + url + "," + window), "input_file_id");
  EXPECT_EQ(refused(input + "," + window), "endpoint");
  EXPECT_EQ(refused(input + R"(,"endpoint":"/v1/moderations",)" + window), "endpoint");
  EXPECT_EQ(refused(input + "," + url), "completion_window");
  EXPECT_EQ(refused(input + "," + url + R"(,"completion_window":"1h")"), "completion_window");
  EXPECT_EQ(refused(input + "," + url + "," + window + R"(,"metadata":{"a":1})"), "metadata");
  EXPECT_EQ(refused(input + "," + url + "," + window + R"(,"output_expires_after":{})"), "output_expires_after");
  EXPECT_EQ(upload("x", "fine-tune").json().at("error").at("param"), "purpose");
  EXPECT_EQ(post("/v1/files", "{}").status, 400);
  for (const auto* path :
       {"/v1/batches?limit=0", "/v1/batches?limit=101", "/v1/batches?limit=1x", "/v1/batches?after=no",
        "/v1/batches?limit=1&limit=1", "/v1/batches?order=asc", "/v1/files?order=up", "/v1/files?x=1"})
    EXPECT_EQ(get(path).status, 400) << path;
  for (const auto* path : {"/v1/batches/no", "/v1/files/no", "/v1/files/no/content", "/v1/files/..%2flock/content",
                           "/v1/files/a/b/content", "/v1/files/%ff"})
    EXPECT_EQ(get(path).status, 404) << path;
  EXPECT_EQ(post("/v1/batches/no/cancel", "").status, 404);
  EXPECT_EQ(remove("/v1/files/no").status, 404);
  const auto wrong = remove("/v1/batches");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(wrong.field("Allow"), "GET, HEAD, POST, OPTIONS");
}

TEST_F(Batches, FilesAreListedReadAndDeleted) {
  start();
  const std::string first = file_of("one\n"), second = file_of("two\n");
  const auto page = get("/v1/files?limit=1").json();
  EXPECT_EQ(page.at("data").at(0).at("id"), json::value(second));
  EXPECT_EQ(page.at("has_more"), true);
  EXPECT_EQ(get("/v1/files?limit=1&after=" + second).json().at("first_id"), json::value(first));
  const auto file = get("/v1/files/" + first).json();
  EXPECT_EQ(file.at("filename"), "in.jsonl");
  EXPECT_EQ(file.at("bytes"), 4);
  EXPECT_EQ(get("/v1/files/" + first + "/content").body, "one\n");
  testing::HttpClient client(port_);
  client.send(fmt::format("HEAD /v1/files/{}/content HTTP/1.1\r\nHost: a\r\n\r\n", first) + get_text("/version"));
  EXPECT_EQ(client.response(true)->status, 200);
  EXPECT_EQ(client.response()->status, 200) << "a body after HEAD would have been read as this answer";
  EXPECT_EQ(remove("/v1/files/" + first).json().at("deleted"), true);
  EXPECT_EQ(get("/v1/files/" + first).status, 404);
  EXPECT_EQ(get("/v1/files").json().at("data").as_array().size(), 1u);
}

TEST_F(Batches, BelongToTheirKey) {
  ServerOptions options;
  options.api_keys = {"one", "two"};
  start(options);
  EXPECT_EQ(get("/v1/files").status, 401);
  key_ = "one";
  const std::string id = batch_of(line_of("a", "x"));
  const json::value done = ended(id);
  EXPECT_EQ(engine_.last_request().tenant, "key 1");
  const std::string output(done.at("output_file_id").as_string());
  key_ = "two";
  for (const std::string& path : {"/v1/batches/" + id, "/v1/files/" + output, "/v1/files/" + output + "/content"})
    EXPECT_EQ(get(path).status, 404) << path;
  EXPECT_EQ(post("/v1/batches/" + id + "/cancel", "").status, 404);
  EXPECT_EQ(remove("/v1/files/" + output).status, 404);
  EXPECT_EQ(get("/v1/files").json().at("data").as_array().size(), 0u);
  EXPECT_EQ(get("/v1/batches").json().at("data").as_array().size(), 0u);
  EXPECT_EQ(get("/v1/batches?after=" + id).status, 400);
  const auto foreign = post("/v1/batches", fmt::format(R"({{"input_file_id":"{}","endpoint":"/v1/completions",)"
                                                       R"("completion_window":"24h"}})",
                                                       std::string(done.at("input_file_id").as_string())));
  EXPECT_EQ(foreign.status, 400);
}

TEST_F(Batches, ComeAfterUsersAndAreFew) {
  start();
  engine_.paused = true;
  std::string first, second;
  for (int i = 0; i < 10; ++i) {
    first += line_of(fmt::format("a{}", i), "x", 4, R"(,"priority":-5)");
    second += line_of(fmt::format("b{}", i), "y");
  }
  const std::string one = batch_of(first), two = batch_of(second);
  EXPECT_TRUE(becomes_true([&] { return engine_.num_running() == 3; }));
  EXPECT_EQ(engine_.last_request().priority, kBatchPriority) << "whatever the line says";
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(engine_.num_running(), 3);
  engine_.paused = false;
  EXPECT_EQ(lines(ended(one).at("output_file_id")).size(), 10u);
  EXPECT_EQ(lines(ended(two).at("output_file_id")).size(), 10u);
}

TEST_F(Batches, ALineOfManyChoicesRunsAlone) {
  start();
  const std::string id =
      batch_of(line_of("a", "x", 4, R"(,"n":5)") + line_of("b", "y") + line_of("c", "z", 4, R"(,"n":9)"));
  const auto output = lines(ended(id).at("output_file_id"));
  EXPECT_EQ(output.at("a").at("response").at("body").at("choices").as_array().size(), 5u);
  EXPECT_EQ(output.size(), 3u);
}

TEST_F(Batches, WaitForAnEngineThatIsFullOrNotReady) {
  engine_.engine_state = EngineState::loading;
  engine_.metadata_read = false;
  start();
  const std::string id = batch_of(line_of("a", "x") + line_of("b", "y"));
  EXPECT_TRUE(becomes_true([&] { return batch(id).at("status") == "in_progress"; }));
  engine_.max_requests = 0;
  engine_.metadata_read = true;
  engine_.engine_state = EngineState::ready;
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_EQ(batch(id).at("request_counts").at("failed"), 0) << "429 is no answer";
  engine_.max_requests = 100;
  EXPECT_EQ(ended(id).at("request_counts").at("completed"), 2);
}

TEST_F(Batches, CanBeCancelled) {
  start();
  engine_.token_delay_us = 500;
  std::string content = line_of("short", "x", 1);
  for (int i = 0; i < 6; ++i) content += line_of(fmt::format("long{}", i), "x", 4000);
  const std::string id = batch_of(content);
  EXPECT_TRUE(becomes_true([&] { return batch(id).at("request_counts").at("completed") == 1; }));
  const std::string input(batch(id).at("input_file_id").as_string());
  EXPECT_EQ(code_of(remove("/v1/files/" + input)), "file_in_use");
  EXPECT_EQ(post("/v1/batches/" + id + "/cancel", "").json().at("status"), "cancelling");
  const json::value cancelled = ended(id, "cancelled");
  EXPECT_EQ(lines(cancelled.at("output_file_id")).size(), 1u);
  EXPECT_TRUE(cancelled.at("cancelled_at").is_int64());
  EXPECT_TRUE(becomes_true([&] { return engine_.num_running() == 0; }));
  EXPECT_EQ(code_of(post("/v1/batches/" + id + "/cancel", "")), "batch_not_cancellable");
  EXPECT_EQ(remove("/v1/files/" + input).status, 200);
}

TEST_F(Batches, ExpireWithWhatIsDone) {
  {
    BatchStore store(folder_);
    store.add_file({.id = "file-in", .name = "in", .purpose = "batch"}, line_of("a", "x") + line_of("b", "y"));
    Batch batch{.id = "batch_1", .endpoint = "/v1/completions", .input_file = "file-in"};
    batch.status = BatchStatus::in_progress;
    batch.total = 2;
    batch.expires_unix_s = unix_seconds() - 1;
    batch = store.add_batch(batch);
    store.add_results(batch.number, {{1, false, answered_line("a", "r", 200, {})}});
  }
  start();
  const json::value expired = ended("batch_1", "expired");
  EXPECT_EQ(lines(expired.at("output_file_id")).size(), 1u);
  const auto errors = lines(expired.at("error_file_id"));
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(errors.at("b").at("error").at("code"), "batch_expired");
  EXPECT_EQ(engine_.num_submitted.load(), 0);
}

TEST_F(Batches, GoOnAtTheNextStart) {
  start();
  engine_.token_delay_us = 200;
  std::string content;
  for (int i = 0; i < 40; ++i) content += line_of(fmt::format("id-{}", i), fmt::format("p{}", i), 40);
  const std::string id = batch_of(content);
  int num_done = 0;
  EXPECT_TRUE(becomes_true([&] {
    num_done = batch(id).at("request_counts").at("completed").to_number<int>();
    return num_done >= 5;
  }));
  front_->drain();
  EXPECT_TRUE(becomes_true([&] { return engine_.num_running() == 0; })) << "a batch does not hold up a shutdown";
  front_.reset();
  const int before = engine_.num_submitted.load();
  EXPECT_LT(before, 40);
  start();
  const json::value done = ended(id);
  EXPECT_EQ(done.at("request_counts").at("completed"), 40);
  EXPECT_EQ(lines(done.at("output_file_id")).size(), 40u);
  EXPECT_LE(engine_.num_submitted.load() - before, 40 - num_done) << "what was answered is not asked again";
}

TEST_F(Batches, NeedAFolder) {
  ServerOptions options;
  options.port = 0;
  FrontEnd front(options, engine_);
  front.start();
  port_ = front.port();
  for (const auto* path : {"/v1/files", "/v1/batches", "/v1/files/a", "/v1/batches/a"}) {
    const auto response = get(path);
    EXPECT_EQ(response.status, 404);
    EXPECT_EQ(code_of(response), "batches_disabled");
  }
}

TEST_F(Batches, UploadsAreBounded) {
  ServerOptions options;
  options.body_bytes = 1000;
  options.file_bytes = 4000;
  options.batch_disk_bytes = 5000;
  start(options);
  EXPECT_EQ(upload(std::string(3000, 'x')).status, 200) << "longer than other bodies may be";
  EXPECT_EQ(code_of(upload(std::string(3000, 'x'))), "storage_full");
  EXPECT_EQ(code_of(upload(std::string(4000, 'x'))), "body_too_large");
  EXPECT_EQ(code_of(post("/v1/completions", std::string(2000, ' '))), "body_too_large");
  EXPECT_EQ(code_of(ask(port_, fmt::format("POST /v1/files HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                                           "1388\r\n{}\r\n0\r\n\r\n",
                                           std::string(5000, 'x')))),
            "body_too_large");
}

TEST_F(Batches, StopAtTheLimitOfTheDisk) {
  ServerOptions options;
  options.batch_disk_bytes = 6000;
  start(options);
  std::string content;
  for (int i = 0; i < 20; ++i) content += line_of(fmt::format("id-{}", i), "p");
  const json::value failed = ended(batch_of(content), "failed");
  EXPECT_EQ(failed.at("errors").at("data").at(0).at("code"), "storage_full");
  const size_t num_done = lines(failed.at("output_file_id")).size();
  EXPECT_GT(num_done, 0u);
  EXPECT_LT(num_done, 20u);
}

}  // namespace
}  // namespace echelon
