// The real front end on a free port of loopback over a scripted engine.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <utility>

#include "frontend/front_end.h"
#include "tests/frontend/script_engine.h"

namespace echelon::testing {

class FrontEndTest : public ::testing::Test {
 protected:
  explicit FrontEndTest(std::shared_ptr<const ModelInfo> model = small_model()) : engine_(std::move(model)) {}
  void start(ServerOptions options = {}) {
    options.port = 0;
    front_.emplace(options, engine_);
    front_->start();
    port_ = front_->port();
  }
  ScriptEngine engine_;
  std::optional<FrontEnd> front_;
  uint16_t port_ = 0;
};

}  // namespace echelon::testing
