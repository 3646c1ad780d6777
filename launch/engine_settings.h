// What the options of a command mean for the engine.
#pragma once

#include "engine/engine_options.h"
#include "launch/options.h"

namespace echelon {

/// ranks_on_host and cores_of_host (0: those of this process): for the default number of threads. Throws
/// Error(Part::kernels) for an instruction set that this machine lacks.
EngineOptions engine_options(const ServeOptions& options, int ranks_on_host, int cores_of_host = 0);

}  // namespace echelon
