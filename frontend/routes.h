// Which paths there are, who may use them, what they take and answer.
// CONTRIBUTING: a new endpoint is a row of kRoutes and a member function of Api.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "frontend/api.h"
#include "frontend/openapi/operation.h"

namespace echelon {

enum class Access {
  open,     ///< to anybody, while draining, too
  guarded,  ///< asks for a key, and is refused while draining
  limited,  ///< likewise, and counts for the key's limits
  admin,    ///< asks for an administrator's key
};

struct Route {
  std::string_view path;  ///< "{name}": one segment; "{+name}" at the end: all that follows. Into HttpRequest::argument
  std::string_view method;
  Access access;
  Api::Endpoint endpoint;
  Operation operation;
};

std::span<const Route> routes();

/// The routes of one path, which differ in their methods.
struct PathRoutes {
  std::vector<const Route*> routes;
  std::string argument;  ///< decoded; empty when it cannot be
  bool is_open() const { return !routes.empty() && routes.front()->access == Access::open; }
  const Route* with_method(std::string_view method) const;
  /// "GET, HEAD, OPTIONS"
  std::string methods() const;
};
PathRoutes find_routes(std::string_view path);

}  // namespace echelon
