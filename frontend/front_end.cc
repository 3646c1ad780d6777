// Wires the parts in the order in which they need each other: counters, endpoints, server.
// Destruction runs the other way round, so that no session outlives what it uses.
#include "frontend/front_end.h"

namespace echelon {

FrontEnd::FrontEnd(const ServerOptions& options, Engine& engine)
    : api_(options, engine, metrics_), server_(options, api_, metrics_) {
  api_.set_text_pool(server_.text_pool());
}

void FrontEnd::drain() {
  api_.drain();
  server_.drain();
}

}  // namespace echelon
