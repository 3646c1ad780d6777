// The command line of `serve`: which source wins, what is refused, and that flags, variables, YAML keys, help and
// --print-config all follow from the one table.
#include "launch/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "kernels/base/error.h"
#include "launch/option_table.h"

namespace echelon {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

ServeOptions parse(std::vector<std::string> arguments, const Environment& environment = {}) {
  return parse_serve(arguments, environment).options;
}

std::string error_of(const std::vector<std::string>& arguments, const Environment& environment = {}) {
  try {
    parse_serve(arguments, environment);
  } catch (const Error& error) {
    EXPECT_EQ(error.part(), Part::launch);
    return error.what();
  }
  return "no error";
}

class OptionFile : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = std::filesystem::temp_directory_path() / ("echelon_options_" + std::to_string(getpid()) + ".yaml");
  }
  void TearDown() override { std::filesystem::remove(path_); }
  std::string write(const std::string& text) {
    std::ofstream(path_) << text;
    return path_.string();
  }
  std::filesystem::path path_;
};

/// A text that row `index` of serve takes and that is not its default.
std::string another_value(size_t index) {
  for (const std::string value : {"3", "4096", "false", "true", "bf16", "avx2", "float32", "debug", "a=3", "dynamic",
                                  "latency", "unix:/s", "http://a", "none", "x.json", "something"}) {
    ServeOptions changed;
    const OptionRow row = serve_rows(changed)[index];
    const std::string preset = row.get();
    const std::vector<std::string> values{value};
    try {
      row.set(values);
    } catch (const BadValue&) {
      continue;
    }
    if (row.get() != preset) return value;
  }
  return "";
}

TEST(Options, ShortAndLongSpellingsOfVllm) {
  const ServeOptions options = parse({"m.gguf", "-tp", "2", "-pp=3", "--data_parallel_size", "1", "--max-model-len=32K",
                                      "--no-enable-prefix-caching", "--pipeline-layer-partition", "19,7,4"});
  EXPECT_EQ(options.model, "m.gguf");
  EXPECT_EQ(options.tensor_parallel_size, 2);
  EXPECT_EQ(options.pipeline_parallel_size, 3);
  EXPECT_EQ(options.data_parallel_size, 1);
  EXPECT_EQ(options.max_model_len, 32768);
  EXPECT_FALSE(options.enable_prefix_caching);
  EXPECT_THAT(options.pipeline_layer_partition, ElementsAre(19, 7, 4));
  EXPECT_FALSE(parse({"m", "--no-prefix-cache"}).enable_prefix_caching);
  EXPECT_TRUE(parse({"m", "--no-prefix-cache", "--enable-prefix-caching"}).enable_prefix_caching);
  EXPECT_EQ(parse({"--port", "1", "m", "--port", "2"}).port, 2);
}

TEST(Options, ModelMayStandAnywhere) {
  EXPECT_EQ(parse({"-tp", "2", "m.gguf", "--port", "1"}).model, "m.gguf");
  EXPECT_EQ(parse({"--api-key", "k", "m.gguf"}).model, "m.gguf");
  EXPECT_EQ(parse({"--model", "m.gguf"}).model, "m.gguf");
  EXPECT_THAT(error_of({"a.gguf", "b.gguf"}), HasSubstr("b.gguf"));
  EXPECT_THAT(error_of({"--port", "1"}), HasSubstr("MODEL is missing"));
}

TEST(Options, SizesAndLengths) {
  EXPECT_EQ(parse({"m", "--max-model-len", "8k"}).max_model_len, 8000);
  EXPECT_EQ(parse({"m", "--max-model-len", "1.5k"}).max_model_len, 1500);
  EXPECT_EQ(parse({"m", "--max-model-len", "auto"}).max_model_len, 0);
  EXPECT_EQ(parse({"m", "--max-model-len=-1"}).max_model_len, 0);
  EXPECT_EQ(parse({"m", "--kv-cache-memory", "2G"}).kv_cache_memory_bytes, int64_t{2} << 30);
  EXPECT_EQ(parse({"m", "--kv-cache-memory", "512MiB"}).kv_cache_memory_bytes, int64_t{512} << 20);
  EXPECT_EQ(parse({"m", "--kv-cache-memory-bytes", "1000"}).kv_cache_memory_bytes, 1000);
  for (const std::string bad :
       {"1.5K", "", "K", "12X", "-5", "99999999999999999999", "9000000T", "1.0001k", "0x10", " 1", "1e3"}) {
    EXPECT_THAT(error_of({"m", "--max-model-len=" + bad}), HasSubstr("--max-model-len")) << bad;
  }
  EXPECT_THAT(error_of({"m", "--kv-cache-memory=9000000T"}), HasSubstr("--kv-cache-memory"));
}

TEST(Options, RangesNameTheFlagAndTheRange) {
  const std::string port = error_of({"m", "--port", "65536"});
  EXPECT_THAT(port, HasSubstr("--port"));
  EXPECT_THAT(port, HasSubstr("0 to 65535"));
  EXPECT_THAT(error_of({"m", "-tp", "25"}), HasSubstr("--tensor-parallel-size: '25' is out of range: 0 to 24"));
  EXPECT_THAT(error_of({"m", "--compute", "fp8"}), HasSubstr("auto, int8, bf16, f32"));
  EXPECT_THAT(error_of({"m", "--pipeline-layer-partition", "19,,11"}), HasSubstr("--pipeline-layer-partition"));
  EXPECT_THAT(error_of({"m", "--host", "a\nb"}), HasSubstr("control character"));
  EXPECT_THAT(error_of({"m"}, {{"ECHELON_PORT", "many"}}), HasSubstr("ECHELON_PORT"));
  EXPECT_THAT(error_of({"m", "--port", "1"}, {{"ECHELON_PORT", "many"}}), HasSubstr("ECHELON_PORT"));
}

TEST(Options, UnknownFlagsNameTheNearest) {
  EXPECT_THAT(error_of({"m", "--max-modellen", "1"}), HasSubstr("did you mean --max-model-len?"));
  EXPECT_THAT(error_of({"m", "--no-prefix-caching"}), HasSubstr("--no-prefix-cach"));
  EXPECT_THAT(error_of({"m", "--zzzz"}), Not(HasSubstr("did you mean")));
  EXPECT_THAT(error_of({"m", "--port"}), HasSubstr("--port"));
}

TEST(Options, SeedIsAWholeNumberOrRandom) {
  EXPECT_EQ(parse({"m"}).seed, std::nullopt);
  EXPECT_EQ(parse({"m", "--seed", "0"}).seed, 0u);
  EXPECT_EQ(parse({"m", "--seed", "9223372036854775807"}).seed, 9223372036854775807u);
  EXPECT_EQ(parse({"m", "--seed", "random"}, {{"ECHELON_SEED", "4"}}).seed, std::nullopt);
  EXPECT_THAT(error_of({"m", "--seed", "9223372036854775808"}), HasSubstr("--seed"));
}

TEST(Options, ApiKeysFromEverySource) {
  EXPECT_THAT(parse({"m", "--api-key", "a", "--api-key", "b,c"}).api_keys, ElementsAre("a", "b,c"));
  EXPECT_THAT(parse({"m"}, {{"ECHELON_API_KEY", "a,b"}}).api_keys, ElementsAre("a", "b"));
  EXPECT_THAT(error_of({"m"}, {{"ECHELON_API_KEY", "a,,b"}}), HasSubstr("ECHELON_API_KEY"));
  const std::string printed = print_config("serve", parse_serve({"m", "--api-key", "secret"}, {}));
  EXPECT_THAT(printed, Not(HasSubstr("secret")));
  EXPECT_THAT(printed, HasSubstr("# api-key: [\"***\"]"));
}

TEST(Options, AddressesToListenOn) {
  EXPECT_THAT(parse({"m", "--listen", "unix:/a", "--listen", "[::]:1"}).listen, ElementsAre("unix:/a", "[::]:1"));
  EXPECT_THAT(parse({"m"}, {{"ECHELON_LISTEN", "unix:/a,h:2"}}).listen, ElementsAre("unix:/a", "h:2"));
  EXPECT_THAT(error_of({"m", "--listen", "8000"}), HasSubstr("--listen: '8000': is neither unix:PATH nor HOST:PORT"));
  EXPECT_THAT(error_of({"m", "--listen", "h:1", "--listen", "h:x"}), HasSubstr("--listen"));
}

TEST(Options, ACertificateNeedsItsKey) {
  EXPECT_EQ(parse({"m", "--tls-cert", "c", "--tls-key", "k"}).tls_key, "k");
  EXPECT_THAT(error_of({"m", "--tls-cert", "c"}), HasSubstr("--tls-cert needs --tls-key"));
  EXPECT_THAT(error_of({"m", "--tls-key", "k"}), HasSubstr("--tls-key needs --tls-cert"));
}

TEST(Options, OriginsOfPages) {
  EXPECT_THAT(parse({"m", "--cors-origin", "*", "--cors-origin", "https://a.b:8"}).cors_origins,
              ElementsAre("*", "https://a.b:8"));
  for (const std::string bad : {"a.b", "://a", "https://", "https://a/", "https://a.b/path", "https://*.b", ""})
    EXPECT_THAT(error_of({"m", "--cors-origin=" + bad}), HasSubstr("--cors-origin")) << bad;
}

TEST(Options, TextsOfRequestsNeedALog) {
  EXPECT_TRUE(parse({"m", "--request-log", "f", "--request-log-text"}).request_log_text);
  EXPECT_THAT(error_of({"m", "--request-log-text"}), HasSubstr("--request-log-text needs --request-log"));
}

TEST(Options, NobodyAndSomebodyExcludeEachOther) {
  EXPECT_TRUE(parse({"m"}).require_api_key);
  EXPECT_FALSE(parse({"m", "--no-api-key"}).require_api_key);
  EXPECT_FALSE(parse({"m", "--no-require-api-key"}).require_api_key);
  EXPECT_EQ(parse({"m", "--api-key-file", "/k"}).api_key_file, "/k");
  EXPECT_THAT(error_of({"m", "--no-api-key", "--api-key-file", "/k"}), HasSubstr("--no-api-key excludes"));
  EXPECT_THAT(error_of({"m", "--no-api-key"}, {{"ECHELON_API_KEY", "k"}}), HasSubstr("--no-api-key excludes"));
}

TEST_F(OptionFile, FlagsWinOverEnvironmentOverFile) {
  const std::string path = write("model: from_file\nport: 1\nmax_num_seqs: 7\nseed: 5\n");
  const Environment environment{{"ECHELON_PORT", "2"}, {"ECHELON_SEED", "6"}, {"ECHELON_HOST", ""}};
  const ServeInvocation invocation = parse_serve({"--config", path, "--seed", "8"}, environment);
  EXPECT_EQ(invocation.options.model, "from_file");
  EXPECT_EQ(invocation.options.max_num_seqs, 7);
  EXPECT_EQ(invocation.options.port, 2);
  EXPECT_EQ(invocation.options.seed, 8u);
  EXPECT_EQ(invocation.options.host, ServeOptions().host);
  std::map<std::string, OptionOrigin> origins;
  for (const OptionOrigin& origin : invocation.origins) origins[origin.name] = origin;
  EXPECT_EQ(origins["max-num-seqs"].source, OptionSource::file);
  EXPECT_THAT(origins["max-num-seqs"].where, HasSubstr(path + ":3"));
  EXPECT_EQ(origins["port"].source, OptionSource::environment);
  EXPECT_EQ(origins["port"].where, "ECHELON_PORT");
  EXPECT_EQ(origins["seed"].source, OptionSource::flag);
  EXPECT_EQ(origins["host"].source, OptionSource::preset);
  EXPECT_EQ(parse({}, {{"ECHELON_CONFIG", path}}).model, "from_file");
}

TEST_F(OptionFile, RefusesWhatItCannotUse) {
  const auto with = [this](const std::string& text) { return error_of({"m", "--config", write(text)}); };
  EXPECT_THAT(with("prot: 1\n"), HasSubstr(":1: unknown key 'prot', did you mean 'port'?"));
  EXPECT_THAT(with("host: a\nport: 99999\n"), HasSubstr(":2: port: '99999' is out of range"));
  EXPECT_THAT(with("port: 1\nport: 2\n"), HasSubstr("stands twice"));
  EXPECT_THAT(with("port: [1, 2]\n"), HasSubstr("not a list"));
  EXPECT_THAT(with("port: {a: 1}\n"), HasSubstr("port"));
  EXPECT_THAT(with("port:\n"), HasSubstr("port"));
  EXPECT_THAT(with("- port\n"), HasSubstr("port: 8000"));
  EXPECT_THAT(with("port: [\n"), HasSubstr("not YAML"));
  EXPECT_THAT(with(std::string(2 << 20, '#')), HasSubstr("more than"));
  EXPECT_THAT(error_of({"m", "--config", "/nowhere/x.yaml"}), HasSubstr("/nowhere/x.yaml"));
  EXPECT_EQ(parse({"m", "--config", write("")}).port, ServeOptions().port);
  EXPECT_THAT(parse({"m", "--config", write("api-key: [x, y]\npipeline-layer-partition: [3, 4]\n")}).api_keys,
              ElementsAre("x", "y"));
}

TEST_F(OptionFile, PrintedConfigurationIsTakenBack) {
  const ServeInvocation before = parse_serve({"a \"b\\c", "-tp", "2", "--seed", "3", "--log-level", "off", "--compute",
                                              "f32", "--pipeline-layer-partition", "3,4", "--no-prefix-cache"},
                                             {{"ECHELON_THREADS", "5"}});
  const std::string printed = print_config("serve", before);
  const ServeInvocation after = parse_serve({"--config", write(printed)}, {});
  for (size_t i = 0; i < before.origins.size(); ++i)
    EXPECT_EQ(before.origins[i].value, after.origins[i].value) << printed;
}

TEST_F(OptionFile, EveryOptionHasAllItsSpellings) {
  ServeOptions presets;
  const std::vector<OptionRow> rows = serve_rows(presets);
  for (size_t i = 0; i < rows.size(); ++i) {
    const OptionRow& row = rows[i];
    const std::string value = another_value(i);
    ASSERT_NE(value, "") << row.name;
    std::vector<std::string> flag{"--" + row.name, value};
    if (row.shape == OptionShape::flag) flag = {(value == "true" ? "--" : "--no-") + row.name};
    const auto value_of = [&](const ServeInvocation& invocation) {
      for (const OptionOrigin& origin : invocation.origins) {
        if (origin.name == row.name) return origin.value;
      }
      return std::string("missing");
    };
    flag.push_back("--print-config");
    const std::string expected = value_of(parse_serve(flag, {}));
    EXPECT_NE(expected, row.get()) << row.name;
    EXPECT_EQ(value_of(parse_serve({"--print-config"}, {{environment_name(row.name), value}})), expected) << row.name;
    EXPECT_EQ(value_of(parse_serve({"--print-config", "--config", write(row.name + ": " + value + "\n")}, {})),
              expected);
    EXPECT_THAT(serve_help(), HasSubstr(row.shape == OptionShape::flag ? "--[no-]" + row.name : "--" + row.name));
    EXPECT_THAT(print_config("serve", parse_serve({"--print-config"}, {})), HasSubstr(row.name + ": "));
  }
}

TEST(Options, WeightsOfTenants) {
  const auto weights = parse({"m", "--tenant-weight", "a=b=3", "--tenant-weight", "key 2=1000"}).tenant_weights;
  EXPECT_EQ(weights, (std::map<std::string, int>{{"a=b", 3}, {"key 2", 1000}}));
  for (const char* bad : {"a", "=3", "a=", "a=0", "a=1001", "a=1.5", ""})
    EXPECT_THROW(parse({"m", "--tenant-weight", bad}), Error) << bad;
  EXPECT_THROW(parse({"m", "--tenant-weight", "a=1", "--tenant-weight", "a=2"}), Error);
}

TEST(Options, VariablesThatNothingReadsAreNamed) {
  const auto warnings =
      parse_serve({"m"}, {{"ECHELON_MAX_MODEL_LENGTH", "1"}, {"ECHELON_QQQ", "1"}, {"ECHELON_MODELS", "/m"}}).warnings;
  ASSERT_EQ(warnings.size(), 2u);
  EXPECT_THAT(warnings[0], HasSubstr("did you mean ECHELON_MAX_MODEL_LEN?"));
  EXPECT_THAT(warnings[1], HasSubstr("ECHELON_QQQ"));
  EXPECT_THAT(parse_serve({"m"}, {{"ECHELON_PORT", "1"}}).warnings, IsEmpty());
}

TEST(Options, HelpAndPrintConfigNeedNoModel) {
  EXPECT_TRUE(parse_serve({"--help"}, {}).help);
  EXPECT_TRUE(parse_serve({"-h"}, {}).help);
  EXPECT_TRUE(parse_serve({"--print-config"}, {}).print_config);
  setenv("ECHELON_OPTIONS_TEST", "here", 1);
  EXPECT_THAT(process_environment(),
              Contains(std::pair<const std::string, std::string>("ECHELON_OPTIONS_TEST", "here")));
}

}  // namespace
}  // namespace echelon
