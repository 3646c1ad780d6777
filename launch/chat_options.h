// The command line of `echelon chat`.
#pragma once

#include <string>
#include <vector>

#include "launch/chat/conversation.h"
#include "launch/command_line.h"

namespace echelon {

struct ChatOptions {
  std::string url = "http://127.0.0.1:8000";
  ChatSettings settings;
  std::string api_key;  ///< empty: none is sent
};

struct ChatInvocation : Invocation {
  ChatOptions options;
};

Command chat_command(ChatOptions& options);

/// As parse_command(), but ECHELON_CONFIG is left alone: it is serve's.
ChatInvocation parse_chat(const std::vector<std::string>& arguments, const Environment& environment);

std::string chat_help();

}  // namespace echelon
