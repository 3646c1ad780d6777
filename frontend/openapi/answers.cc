// What every answer is, as JSON Schema. tests/clients/schemathesis_client.py holds the real ones against it.
#include <boost/json/parse.hpp>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "frontend/openapi/document.h"

namespace echelon {
namespace {

// A schema is an object of these members, all of them but for those with a question mark, and no others. Words that
// begin with $ are of this file: $object: an object like that; $schema: another of these; $count, $ids, $bytes.

constexpr std::string_view kOpenAi = R"json({
"Error": {"error": {"$object": {
  "message": {"type": "string"}, "type": {"type": "string"}, "param": {"type": ["string", "null"]},
  "code": {"type": ["string", "null"]}}}},
"Usage": {
  "prompt_tokens": {"$count": true}, "completion_tokens": {"$count": true}, "total_tokens": {"$count": true},
  "prompt_tokens_details": {"$object": {"cached_tokens": {"$count": true}}},
  "completion_tokens_details?": {"$object": {"reasoning_tokens": {"$count": true}}}},
"TokenLogprob": {
  "token": {"type": "string"}, "logprob": {"type": "number", "maximum": 0}, "bytes": {"$bytes": true},
  "top_logprobs": {"type": "array", "items": {"$object": {
    "token": {"type": "string"}, "logprob": {"type": "number", "maximum": 0}, "bytes": {"$bytes": true}}}}},
"ToolCall": {
  "id": {"type": "string"}, "type": {"const": "function"},
  "function": {"$object": {"name": {"type": "string"}, "arguments": {"type": "string"}}}},
"PromptLogprobs": {"$array": {"anyOf": [{"type": "null"}, {"type": "object", "additionalProperties": {"$object": {
  "logprob": {"type": "number", "maximum": 0}, "rank": {"$count": true}, "decoded_token": {"type": "string"}}}}]}},
"ChatCompletion": {
  "id": {"type": "string"}, "object": {"const": "chat.completion"}, "created": {"type": "integer"}, "model": {"type": "string"},
  "system_fingerprint": {"type": "string"}, "seed": {"type": "integer"},
  "choices": {"type": "array", "items": {"$object": {
    "index": {"$count": true},
    "message": {"$object": {
      "role": {"const": "assistant"}, "content": {"type": ["string", "null"]}, "refusal": {"type": "null"},
      "reasoning_content?": {"type": "string"}, "tool_calls?": {"type": "array", "items": {"$schema": "ToolCall"}}}},
    "logprobs": {"anyOf": [{"type": "null"}, {"$object": {
      "content": {"type": "array", "items": {"$schema": "TokenLogprob"}}, "refusal": {"type": "null"}}}]},
    "finish_reason": {"enum": ["stop", "length", "tool_calls", "abort", "timeout"]},
    "stop_reason": {"type": ["string", "integer", "null"]}, "token_ids?": {"$ids": true}}}},
  "prompt_token_ids?": {"$ids": true}, "prompt_logprobs?": {"$schema": "PromptLogprobs"}, "usage": {"$schema": "Usage"}},
"Completion": {
  "id": {"type": "string"}, "object": {"const": "text_completion"}, "created": {"type": "integer"}, "model": {"type": "string"},
  "system_fingerprint": {"type": "string"}, "seed": {"type": "integer"},
  "choices": {"type": "array", "items": {"$object": {
    "index": {"$count": true}, "text": {"type": "string"},
    "logprobs": {"anyOf": [{"type": "null"}, {"$object": {
      "tokens": {"type": "array", "items": {"type": "string"}},
      "token_logprobs": {"type": "array", "items": {"type": ["number", "null"], "maximum": 0}},
      "top_logprobs": {"type": "array", "items": {"type": ["object", "null"], "additionalProperties": {"type": "number"}}},
      "text_offset": {"$ids": true}}}]},
    "finish_reason": {"enum": ["stop", "length", "abort", "timeout"]},
    "stop_reason": {"type": ["string", "integer", "null"]}, "prompt_logprobs?": {"$schema": "PromptLogprobs"},
    "token_ids?": {"$ids": true}, "prompt_token_ids?": {"$ids": true}}}},
  "usage": {"$schema": "Usage"}},
"Model": {
  "id": {"type": "string"}, "object": {"const": "model"}, "created": {"type": "integer"}, "owned_by": {"type": "string"},
  "root": {"type": "string"}, "parent": {"type": "null"}, "max_model_len": {"$count": true}},
"ModelList": {"object": {"const": "list"}, "data": {"type": "array", "items": {"$schema": "Model"}}}
})json";

constexpr std::string_view kResponses = R"json({
"Response": {
  "id": {"type": "string"}, "object": {"const": "response"}, "created_at": {"type": "integer"},
  "status": {"enum": ["completed", "incomplete", "failed"]}, "error": {"type": ["object", "null"]},
  "incomplete_details": {"anyOf": [{"type": "null"}, {"$object": {"reason": {"const": "max_output_tokens"}}}]},
  "model": {"type": "string"}, "output": {"type": "array", "items": {"$schema": "ResponseItem"}},
  "usage": {"$object": {
    "input_tokens": {"$count": true},
    "input_tokens_details": {"$object": {"cached_tokens": {"$count": true}, "cache_write_tokens": {"$count": true}}},
    "output_tokens": {"$count": true}, "output_tokens_details": {"$object": {"reasoning_tokens": {"$count": true}}},
    "total_tokens": {"$count": true}}},
  "seed": {"type": "integer"}, "instructions": {"type": ["string", "null"]}, "max_output_tokens": {"type": ["number", "null"]},
  "max_tool_calls": {"type": ["number", "null"]}, "metadata": {"type": "object"}, "parallel_tool_calls": {"type": "boolean"},
  "prompt_cache_key": {"type": ["string", "null"]}, "reasoning": {"type": "object"}, "safety_identifier": {"type": ["string", "null"]},
  "temperature": {"type": "number"}, "text": {"type": "object"}, "tool_choice": {"type": ["string", "object"]},
  "tools": {"type": "array"}, "top_logprobs": {"type": "number"}, "top_p": {"type": "number"}, "truncation": {"type": "string"},
  "user": {"type": ["string", "null"]}, "background": {"const": false}, "previous_response_id": {"type": "null"},
  "service_tier": {"const": "default"}, "store": {"const": false}},
"ResponseItem": {"$any": [
  {"$object": {
    "id": {"type": "string"}, "type": {"const": "message"}, "role": {"const": "assistant"}, "status": {"type": "string"},
    "content": {"type": "array", "items": {"$object": {
      "type": {"const": "output_text"}, "text": {"type": "string"}, "annotations": {"type": "array", "maxItems": 0},
      "logprobs": {"type": "array", "items": {"$schema": "TokenLogprob"}}}}}}},
  {"$object": {
    "id": {"type": "string"}, "type": {"const": "reasoning"}, "status": {"type": "string"},
    "summary": {"type": "array", "maxItems": 0},
    "content": {"type": "array", "items": {"$object": {"type": {"const": "reasoning_text"}, "text": {"type": "string"}}}}}},
  {"$object": {
    "id": {"type": "string"}, "type": {"const": "function_call"}, "status": {"type": "string"}, "call_id": {"type": "string"},
    "name": {"type": "string"}, "arguments": {"type": "string"}}}]}
})json";

constexpr std::string_view kMessages = R"json({
"MessagesError": {
  "type": {"const": "error"}, "error": {"$object": {"type": {"type": "string"}, "message": {"type": "string"}}}},
"Message": {
  "id": {"type": "string"}, "type": {"const": "message"}, "role": {"const": "assistant"}, "model": {"type": "string"},
  "content": {"type": "array", "items": {"anyOf": [
    {"$object": {"type": {"const": "text"}, "text": {"type": "string"}}},
    {"$object": {"type": {"const": "thinking"}, "thinking": {"type": "string"}, "signature": {"type": "string"}}},
    {"$object": {"type": {"const": "tool_use"}, "id": {"type": "string"}, "name": {"type": "string"}, "input": {"type": "object"}}}]}},
  "stop_reason": {"enum": ["end_turn", "max_tokens", "stop_sequence", "tool_use"]}, "stop_sequence": {"type": ["string", "null"]},
  "usage": {"$object": {
    "input_tokens": {"$count": true}, "cache_creation_input_tokens": {"$count": true},
    "cache_read_input_tokens": {"$count": true}, "output_tokens": {"$count": true}}}},
"TokenCount": {"input_tokens": {"$count": true}}
})json";

constexpr std::string_view kVectors = R"json({
"PromptUsage": {"prompt_tokens": {"$count": true}, "total_tokens": {"$count": true}},
"Embeddings": {
  "id": {"type": "string"}, "object": {"const": "list"}, "created": {"type": "integer"}, "model": {"type": "string"},
  "data": {"type": "array", "items": {"$object": {
    "object": {"const": "embedding"}, "index": {"$count": true},
    "embedding": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "number"}}]}}}},
  "usage": {"$schema": "PromptUsage"}},
"Scores": {
  "id": {"type": "string"}, "object": {"const": "list"}, "created": {"type": "integer"}, "model": {"type": "string"},
  "data": {"type": "array", "items": {"$object": {
    "index": {"$count": true}, "object": {"const": "score"}, "score": {"type": "number", "minimum": -1, "maximum": 1}}}},
  "usage": {"$schema": "PromptUsage"}},
"Ranking": {
  "id": {"type": "string"}, "created": {"type": "integer"}, "model": {"type": "string"},
  "results": {"type": "array", "items": {"$object": {
    "index": {"$count": true}, "document?": {"$object": {"text": {"type": "string"}}},
    "relevance_score": {"type": "number", "minimum": -1, "maximum": 1}}}},
  "usage": {"$schema": "PromptUsage"}}
})json";

constexpr std::string_view kFiles = R"json({
"File": {
  "id": {"type": "string"}, "object": {"const": "file"}, "bytes": {"$count": true}, "created_at": {"type": "integer"},
  "expires_at": {"type": "null"}, "filename": {"type": "string"}, "purpose": {"type": "string"},
  "status": {"const": "processed"}, "status_details": {"type": "null"}},
"FileList": {
  "object": {"const": "list"}, "first_id": {"type": ["string", "null"]}, "last_id": {"type": ["string", "null"]},
  "has_more": {"type": "boolean"}, "data": {"type": "array", "items": {"$schema": "File"}}},
"DeletedFile": {"id": {"type": "string"}, "object": {"const": "file"}, "deleted": {"const": true}},
"Batch": {
  "id": {"type": "string"}, "object": {"const": "batch"}, "endpoint": {"type": "string"}, "errors": {"type": ["object", "null"]},
  "input_file_id": {"type": "string"}, "completion_window": {"const": "24h"},
  "status": {"enum": ["validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"]},
  "output_file_id": {"type": ["string", "null"]}, "error_file_id": {"type": ["string", "null"]},
  "created_at": {"type": "integer"}, "expires_at": {"type": "integer"}, "in_progress_at": {"type": ["integer", "null"]},
  "finalizing_at": {"type": ["integer", "null"]}, "completed_at": {"type": ["integer", "null"]},
  "failed_at": {"type": ["integer", "null"]}, "expired_at": {"type": ["integer", "null"]},
  "cancelling_at": {"type": ["integer", "null"]}, "cancelled_at": {"type": ["integer", "null"]},
  "request_counts": {"$object": {"total": {"$count": true}, "completed": {"$count": true}, "failed": {"$count": true}}},
  "metadata": {"type": ["object", "null"]}},
"BatchList": {
  "object": {"const": "list"}, "first_id": {"type": ["string", "null"]}, "last_id": {"type": ["string", "null"]},
  "has_more": {"type": "boolean"}, "data": {"type": "array", "items": {"$schema": "Batch"}}}
})json";

constexpr std::string_view kOfServer = R"json({
"Tokens": {
  "count": {"$count": true}, "max_model_len": {"$count": true}, "tokens": {"$ids": true},
  "token_strs": {"type": ["array", "null"], "items": {"type": "string"}}},
"Text": {"prompt": {"type": "string"}},
"TokenizerInfo": {
  "tokenizer_class": {"type": "string"}, "vocab_size": {"$count": true}, "model_max_length": {"$count": true},
  "bos_token": {"type": ["string", "null"]}, "eos_token": {"type": ["string", "null"]}, "pad_token": {"type": "null"},
  "eos_token_ids": {"$ids": true}, "chat_template": {"type": ["string", "null"]}},
"Load": {"server_load": {"$count": true}},
"Nothing": {},
"Health": {"status": {"type": "string"}, "reason?": {"type": ["string", "null"]}},
"Version": {"version": {"type": "string"}},
"Pipeline": {"$any": [{"type": "object"}]},
"OpenApi": {"$any": [{"type": "object"}]}
})json";

namespace json = boost::json;

json::value expanded(const json::value& shape);

/// {"name": shape, "name?": shape, ..}: all are required but those with a question mark, and there are no others.
json::object expanded_object(const json::object& members) {
  json::object properties;
  json::array required;
  for (const auto& member : members) {
    std::string_view name = member.key();
    const bool optional = name.ends_with('?');
    if (optional) name.remove_suffix(1);
    properties[name] = expanded(member.value());
    if (!optional) required.emplace_back(name);
  }
  json::object schema{{"type", "object"}, {"properties", std::move(properties)}, {"additionalProperties", false}};
  if (!required.empty()) schema["required"] = std::move(required);
  return schema;
}

/// A shape with the words of this file, which begin with $, as JSON Schema.
json::value expanded(const json::value& shape) {
  if (shape.is_array()) {
    json::array all;
    for (const json::value& one : shape.get_array()) all.push_back(expanded(one));
    return all;
  }
  if (!shape.is_object()) return shape;
  const json::object& object = shape.get_object();
  if (const json::value* name = object.if_contains("$schema"))
    return json::object{{"$ref", "#/components/schemas/" + std::string(name->as_string())}};
  if (const json::value* members = object.if_contains("$object")) return expanded_object(members->as_object());
  if (object.contains("$count")) return integer_shape(0, std::numeric_limits<int64_t>::max());
  if (object.contains("$ids")) return json::object{{"type", "array"}, {"items", integer_shape(0, INT32_MAX)}};
  if (object.contains("$bytes")) return json::object{{"type", "array"}, {"items", integer_shape(0, 255)}};
  json::object result;
  for (const auto& member : object) result[member.key()] = expanded(member.value());
  return result;
}

}  // namespace

json::object answer_schemas() {
  json::object schemas;
  for (const std::string_view text : {kOpenAi, kResponses, kMessages, kVectors, kFiles, kOfServer}) {
    const json::value parsed = json::parse(text);
    for (const auto& member : parsed.as_object()) {
      const json::object& members = member.value().as_object();
      if (const json::value* items = members.if_contains("$array")) {
        schemas[member.key()] = json::object{{"type", "array"}, {"items", expanded(*items)}};
      } else if (const json::value* kinds = members.if_contains("$any")) {
        schemas[member.key()] = any_of(expanded(*kinds).as_array());
      } else {
        schemas[member.key()] = expanded_object(members);
      }
    }
  }
  return schemas;
}

}  // namespace echelon
