// GET /openapi.json: OpenAPI 3.1. Requests are what the readers of bodies say that they take; answers are schemas of
// answers.cc, which the real answers are held against by tests/clients. GET /docs: a page that shows it.
#pragma once

#include <boost/json/object.hpp>
#include <span>
#include <string_view>

#include "frontend/openapi/operation.h"

namespace echelon {

/// One operation at its place.
struct PlacedOperation {
  std::string_view path;    ///< "/v1/files/{file_id}"; "{+model}": a segment that may have slashes
  std::string_view method;  ///< "GET"
  bool asks_key = false;
  const Operation* operation = nullptr;
};

boost::json::object openapi_document(std::span<const PlacedOperation> operations, const ModelInfo& model,
                                     std::string_view version);

/// {name: schema} of every answer.
boost::json::object answer_schemas();

/// HTML, complete in itself; it fetches /openapi.json.
std::string_view docs_page();

}  // namespace echelon
