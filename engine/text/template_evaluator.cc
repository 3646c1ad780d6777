// Running statements: output, assignments, conditions, loops, macros.
// Scopes are Jinja's: a loop's body and a macro have their own, an if has none; a macro sees the template's own
// variables.
#include "engine/text/template_evaluator.h"

#include <fmt/format.h>

#include <algorithm>

namespace echelon::templates {

/// One level of nesting while it lives.
class Evaluator::Depth {
 public:
  explicit Depth(Evaluator& evaluator) : evaluator_(evaluator) {
    if (++evaluator_.depth_ > kMaxEvalDepth) {
      --evaluator_.depth_;
      fail(fmt::format("the template nests deeper than {} levels", kMaxEvalDepth));
    }
    evaluator_.charge(1);
  }
  ~Depth() { --evaluator_.depth_; }
  Depth(const Depth&) = delete;
  Depth& operator=(const Depth&) = delete;

 private:
  Evaluator& evaluator_;
};

Evaluator::Evaluator(std::vector<std::pair<std::string, Value>> variables, std::tm now) : now_(now) {
  root_.variables.emplace_back("range", Value(Builtin::range));
  root_.variables.emplace_back("namespace", Value(Builtin::namespace_));
  root_.variables.emplace_back("dict", Value(Builtin::dict));
  root_.variables.emplace_back("raise_exception", Value(Builtin::raise_exception));
  root_.variables.emplace_back("strftime_now", Value(Builtin::strftime_now));
  namespaces_.push_back({std::move(variables)});  // keeps the names alive
  for (const auto& [name, value] : namespaces_.front().attributes) set_variable(name, value);
}

void Evaluator::charge(size_t steps) {
  steps_ += static_cast<int64_t>(std::min<size_t>(steps, static_cast<size_t>(kMaxSteps)));
  if (steps_ > kMaxSteps) fail(fmt::format("the template takes more than {} steps", kMaxSteps));
}

std::string Evaluator::charged(std::string text) {
  if (text.size() > kMaxTextBytes) fail(fmt::format("a text is longer than {} bytes", kMaxTextBytes));
  charge(1 + text.size() / kCharsPerStep);
  return text;
}

std::string Evaluator::run(const Block& block) {
  run_block(block);
  return std::move(output_);
}

Evaluator::Flow Evaluator::run_block(const Block& block) {
  const Depth depth(*this);
  for (const auto& statement : block) {
    const Flow flow = run_statement(*statement);
    if (flow != Flow::normal) return flow;
  }
  return Flow::normal;
}

Evaluator::Flow Evaluator::run_statement(const Statement& statement) {
  line_ = statement.line;
  charge(1);
  switch (statement.kind) {
    case StatementKind::text:
      write(Value(statement.text));
      return Flow::normal;
    case StatementKind::output:
      write(evaluate(*statement.value));
      return Flow::normal;
    case StatementKind::set:
      assign(statement, evaluate(*statement.value));
      return Flow::normal;
    case StatementKind::set_block: {
      Value value(capture(statement.body));
      if (statement.value) value = evaluate_filter(*statement.value, value);
      assign(statement, value);
      return Flow::normal;
    }
    case StatementKind::if_:
      return run_if(statement);
    case StatementKind::for_:
      return run_for(statement);
    case StatementKind::macro:
      set_variable(statement.macro.name, Value(&statement.macro));
      return Flow::normal;
    case StatementKind::scope:
      run_with(statement);
      return Flow::normal;
    case StatementKind::filter:
      write(evaluate_filter(*statement.value, Value(capture(statement.body))));
      return Flow::normal;
    case StatementKind::block:
      return run_block(statement.body);
    case StatementKind::break_:
      return Flow::break_;
    case StatementKind::continue_:
      return Flow::continue_;
  }
  return Flow::normal;
}

void Evaluator::write(const Value& value) {
  const std::string* text = value.string();
  const std::string made = text ? std::string() : to_text(value);
  const std::string& added = text ? *text : made;
  charge(added.size() / kCharsPerStep);
  if (added.size() > kMaxTextBytes - output_.size())
    fail(fmt::format("the output is longer than {} bytes", kMaxTextBytes));
  output_ += added;
}

std::string Evaluator::capture(const Block& block) {
  std::string outer = std::move(output_);
  output_.clear();
  run_block(block);
  std::swap(outer, output_);
  return outer;
}

Evaluator::Flow Evaluator::run_if(const Statement& statement) {
  for (const Branch& branch : statement.branches) {
    if (!branch.condition || truthy(evaluate(*branch.condition))) return run_block(branch.body);
  }
  return Flow::normal;
}

ListRef Evaluator::loop_items(const Statement& statement) {
  ListRef items = iterate(evaluate(*statement.value));
  charge(items->items.size());
  if (!statement.condition) return items;
  auto kept = std::make_shared<ListData>();
  for (const Value& value : items->items) {
    Scope scope{scope_, {}};
    Scope* const outer = std::exchange(scope_, &scope);
    assign(statement, value);
    const bool keep = truthy(evaluate(*statement.condition));
    scope_ = outer;
    if (keep) kept->items.push_back(value);
  }
  return kept;
}

Evaluator::Flow Evaluator::run_for(const Statement& statement) {
  auto loop = std::make_shared<LoopState>();
  loop->items = loop_items(statement);
  if (loop->items->items.empty()) return run_block(statement.otherwise);
  for (loop->index = 0; loop->index < loop->items->items.size(); ++loop->index) {
    Scope scope{scope_, {}};
    scope.variables.emplace_back("loop", Value(std::shared_ptr<const LoopState>(loop)));
    Scope* const outer = std::exchange(scope_, &scope);
    assign(statement, loop->items->items[loop->index]);
    const Flow flow = run_block(statement.body);
    scope_ = outer;
    if (flow == Flow::break_) break;
  }
  return Flow::normal;
}

void Evaluator::run_with(const Statement& statement) {
  Scope scope{scope_, {}};
  std::vector<Value> values;
  for (const Branch& assignment : statement.branches) values.push_back(evaluate(*assignment.condition));
  Scope* const outer = std::exchange(scope_, &scope);
  for (size_t i = 0; i < values.size(); ++i) assign_one(statement.targets[i], values[i]);
  run_block(statement.body);
  scope_ = outer;
}

void Evaluator::assign(const Statement& statement, const Value& value) {
  if (!statement.unpack) return assign_one(statement.targets.front(), value);
  const ListRef items = iterate(value);
  if (items->items.size() != statement.targets.size()) {
    fail(fmt::format("{} values cannot be unpacked into {} names", items->items.size(), statement.targets.size()));
  }
  for (size_t i = 0; i < statement.targets.size(); ++i) assign_one(statement.targets[i], items->items[i]);
}

void Evaluator::assign_one(const Target& target, const Value& value) {
  if (target.attribute.empty()) return set_variable(target.name, value);
  const Value object = look_up(target.name);
  if (!object.get<Namespace*>()) fail("cannot assign attribute on non-namespace object");
  auto& attributes = (*object.get<Namespace*>())->attributes;
  for (auto& [name, old] : attributes) {
    if (name == target.attribute) {
      old = value;
      return;
    }
  }
  attributes.emplace_back(target.attribute, value);
}

void Evaluator::set_variable(std::string_view name, Value value) {
  for (auto& [known, old] : scope_->variables) {
    if (known == name) {
      old = std::move(value);
      return;
    }
  }
  scope_->variables.emplace_back(name, std::move(value));
}

Value Evaluator::look_up(const std::string& name) const {
  for (const Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
    for (const auto& [known, value] : scope->variables) {
      if (known == name) return value;
    }
  }
  return Undefined{std::make_shared<const std::string>(fmt::format("'{}' is undefined", name))};
}

Value Evaluator::call_macro(const MacroNode& macro, const Arguments& arguments) {
  const Depth depth(*this);
  const auto& parameters = macro.parameters;
  if (arguments.positional.size() > parameters.size()) {
    fail(fmt::format("macro '{}' takes not more than {} argument(s)", macro.name, parameters.size()));
  }
  for (const auto& [name, value] : arguments.named) {
    const bool known = std::any_of(parameters.begin(), parameters.end(), [&](const auto& p) { return p.name == name; });
    if (!known) fail(fmt::format("macro '{}' takes no keyword argument '{}'", macro.name, name));
  }
  Scope scope{&root_, {}};
  Scope* const outer = std::exchange(scope_, &scope);
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Value* given = arguments.find(i, parameters[i].name);
    Value value = Undefined{
        std::make_shared<const std::string>(fmt::format("parameter '{}' was not provided", parameters[i].name))};
    if (given != nullptr) {
      value = *given;
    } else if (parameters[i].default_value) {
      value = evaluate(*parameters[i].default_value);
    }
    set_variable(parameters[i].name, std::move(value));
  }
  std::string text = capture(macro.body);
  scope_ = outer;
  return Value(charged(std::move(text)));
}

Value Evaluator::evaluate(const Expr& expr) {
  const Depth depth(*this);
  return evaluate_node(expr);
}

}  // namespace echelon::templates
