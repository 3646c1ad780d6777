// Scripts that complete the command line: what bash makes of its own, and that each has every option.
#include "launch/completion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "launch/option_table.h"
#include "launch/top_options.h"

namespace echelon {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Not;
using Words = std::vector<std::string>;

std::string script(std::string_view shell) {
  ServeOptions serve;
  TopOptions top;
  const std::vector<CompletedCommand> commands{
      {.command = {.name = "serve", .rows = serve_rows(serve)}, .help = "serve a user's model"},
      {.command = top_command(top), .help = "watch", .words = "http://127.0.0.1:8000"}};
  return completion_script(shell, commands);
}

/// What bash offers for the last word of "echelon WORDS".
Words offered(const Words& words) {
  const std::filesystem::path file =
      std::filesystem::temp_directory_path() / ("echelon_completion_" + std::to_string(getpid()));
  std::ofstream out(file);
  out << script("bash") << "COMP_WORDS=(echelon";
  for (const std::string& word : words) out << " '" << word << "'";
  out << "); COMP_CWORD=" << words.size() << "; _echelon; printf '%s\\n' \"${COMPREPLY[@]}\"\n";
  out.close();
  FILE* bash = popen(("bash " + file.string()).c_str(), "r");
  std::string text;
  std::array<char, 4096> part;
  for (size_t size; (size = fread(part.data(), 1, part.size(), bash)) > 0;) text.append(part.data(), size);
  EXPECT_EQ(pclose(bash), 0);
  std::filesystem::remove(file);
  Words lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

TEST(Completion, BashOffersCommandsOptionsAndValues) {
  EXPECT_EQ(offered({""}), (Words{"serve", "top"}));
  EXPECT_EQ(offered({"se"}), Words{"serve"});
  EXPECT_THAT(offered({"serve", "--"}), IsSupersetOf({"--port", "--max-model-len", "--no-api-key", "--help"}));
  EXPECT_EQ(offered({"serve", "-t"}), Words{"-tp"});
  EXPECT_EQ(offered({"serve", "m.gguf", "--tool-call-parser", "mi"}), (Words{"mistral", "mistral_args"}));
  EXPECT_EQ(offered({"top", "http"}), Words{"http://127.0.0.1:8000"});
  EXPECT_THAT(offered({"top", "--"}), Not(Contains("--port")));
  EXPECT_THAT(offered({"serve", "/et"}), Contains("/etc")) << "the model is a file";
}

TEST(Completion, EveryShellHasEveryOption) {
  ServeOptions serve;
  for (const std::string_view shell : kShells) {
    const std::string text = script(shell);
    for (const OptionRow& row : serve_rows(serve)) {
      if (row.operand) continue;
      EXPECT_THAT(text, HasSubstr(row.name)) << shell;
    }
    EXPECT_THAT(text, HasSubstr("hermes llama3_json")) << shell;
  }
  EXPECT_THAT(script("fish"), HasSubstr("'serve a user'\\''s model'"));
}

}  // namespace
}  // namespace echelon
