// What an endpoint takes and answers, for /openapi.json. Plain data, a part of its route.
#pragma once

#include <span>
#include <string_view>

#include "engine/engine.h"
#include "frontend/openai/json_reader.h"

namespace echelon {

/// Asks `reader`, which describes, for every member of a request.
using DescribeBody = void (*)(JsonReader& reader, const ModelInfo& model);

/// The requests that `read` reads.
template <auto read>
void describe_body(JsonReader& reader, const ModelInfo& model) {
  const auto describe = [&]<typename Request>(void (*)(JsonReader&, const ModelInfo&, Request&)) {
    Request request;
    read(reader, model, request);
  };
  describe(read);
}

struct Operation {
  std::string_view summary;
  std::string_view answer;                      ///< a schema of answers.cc; empty: no JSON
  DescribeBody body = nullptr;                  ///< null: none that is JSON
  std::string_view media = "application/json";  ///< of the answer
  bool streams = false;                         ///< server-sent events, too
  bool is_upload = false;                       ///< takes a form with a file
  std::span<const QueryParameter> query = {};
  std::string_view error = "Error";  ///< a schema of answers.cc
};

}  // namespace echelon
