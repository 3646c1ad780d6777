// Running statements: output, assignments, conditions, loops, macros.
// Scopes are Jinja's: a loop's body and a macro have their own, an if has none; a macro sees what is around it.
#include "engine/text/template_evaluator.h"

#include <fmt/format.h>

#include <algorithm>

namespace echelon::templates {

namespace {
constexpr size_t kNamesPerStep = 8;  // compared with the one that is looked for
}

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

/// A scope of its own while it lives, inside `parent`.
class Evaluator::ScopeGuard {
 public:
  ScopeGuard(Evaluator& evaluator, const Scope* parent)
      : evaluator_(evaluator),
        scope_{parent, ++evaluator.last_scope_, {}},
        outer_(std::exchange(evaluator.scope_, &scope_)) {}
  ~ScopeGuard() { evaluator_.scope_ = outer_; }
  ScopeGuard(const ScopeGuard&) = delete;
  ScopeGuard& operator=(const ScopeGuard&) = delete;

 private:
  Evaluator& evaluator_;
  Scope scope_;
  Scope* outer_;
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

std::string Evaluator::charged(std::string text) {
  check_text_size(text.size());
  meter_.charge_text(text.size());
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
      assign(statement.targets.front(), evaluate(*statement.value));
      return Flow::normal;
    case StatementKind::set_block: {
      Value value(capture(statement.body));
      if (statement.value) value = evaluate_filter(*statement.value, value);
      assign(statement.targets.front(), value);
      return Flow::normal;
    }
    case StatementKind::if_:
      return run_if(statement);
    case StatementKind::for_:
      return run_for(statement);
    case StatementKind::macro:
      set_variable(statement.macro.name, Value(Macro{&statement.macro, scope_->id}));
      return Flow::normal;
    case StatementKind::scope:
      return run_with(statement);
    case StatementKind::filter:
      write(evaluate_filter(*statement.value, Value(capture(statement.body))));
      return Flow::normal;
    case StatementKind::break_:
      return Flow::break_;
    case StatementKind::continue_:
      return Flow::continue_;
  }
  return Flow::normal;
}

void Evaluator::write(const Value& value) {
  const std::string* text = value.string();
  const std::string made = text ? std::string() : text_of(value);
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
  ListRef items = iterate(meter_, evaluate(*statement.value));
  charge(items->items.size());
  if (!statement.condition) return items;
  auto kept = std::make_shared<ListData>();
  for (const Value& value : items->items) {
    const ScopeGuard scope(*this, scope_);
    assign(statement.targets.front(), value);
    if (truthy(evaluate(*statement.condition))) kept->items.push_back(value);
  }
  return kept;
}

Evaluator::Flow Evaluator::run_for(const Statement& statement) {
  const auto loop = std::make_shared<LoopState>();
  loop->items = loop_items(statement);
  if (loop->items->items.empty()) return run_block(statement.otherwise);
  // What loop.changed keeps may hold the loop itself, which would then never be freed.
  const std::unique_ptr<LoopState, void (*)(LoopState*)> forget(loop.get(),
                                                                [](LoopState* state) { state->last_changed.reset(); });
  for (loop->index = 0; loop->index < loop->items->items.size(); ++loop->index) {
    const ScopeGuard scope(*this, scope_);
    set_variable("loop", Value(std::shared_ptr<const LoopState>(loop)));
    assign(statement.targets.front(), loop->items->items[loop->index]);
    if (run_block(statement.body) == Flow::break_) break;
  }
  return Flow::normal;
}

Evaluator::Flow Evaluator::run_with(const Statement& statement) {
  std::vector<Value> values;
  for (const Branch& assignment : statement.branches) values.push_back(evaluate(*assignment.condition));
  const ScopeGuard scope(*this, scope_);
  for (size_t i = 0; i < values.size(); ++i) assign(statement.targets[i], values[i]);
  return run_block(statement.body);
}

void Evaluator::assign(const Target& target, const Value& value) {
  if (!target.parts.empty()) {
    const ListRef items = iterate(meter_, value);
    if (items->items.size() != target.parts.size()) {
      fail(fmt::format("{} values cannot be unpacked into {} names", items->items.size(), target.parts.size()));
    }
    for (size_t i = 0; i < target.parts.size(); ++i) assign(target.parts[i], items->items[i]);
    return;
  }
  if (target.attribute.empty()) return set_variable(target.name, value);
  const Value object = look_up(target.name);
  if (!object.get<Namespace*>()) fail("cannot assign attribute on non-namespace object");
  auto& attributes = (*object.get<Namespace*>())->attributes;
  charge(attributes.size() / kNamesPerStep);
  for (auto& [name, old] : attributes) {
    if (name == target.attribute) {
      old = value;
      return;
    }
  }
  attributes.emplace_back(target.attribute, value);
}

void Evaluator::set_variable(std::string_view name, Value value) {
  charge(scope_->variables.size() / kNamesPerStep);
  for (auto& [known, old] : scope_->variables) {
    if (known == name) {
      old = std::move(value);
      return;
    }
  }
  scope_->variables.emplace_back(name, std::move(value));
}

Value Evaluator::look_up(const std::string& name) {
  for (const Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
    charge(scope->variables.size() / kNamesPerStep);
    for (const auto& [known, value] : scope->variables) {
      if (known == name) return value;
    }
  }
  return make_undefined(fmt::format("'{}' is undefined", name));
}

Value Evaluator::call_macro(const Macro& called, const Arguments& arguments) {
  const Depth depth(*this);
  const MacroNode& macro = *called.node;
  const auto& parameters = macro.parameters;
  if (arguments.positional.size() > parameters.size()) {
    fail(fmt::format("macro '{}' takes not more than {} argument(s)", macro.name, parameters.size()));
  }
  charge(parameters.size() * (arguments.named.size() + 1) / kNamesPerStep);
  for (const auto& [name, value] : arguments.named) {
    const auto left = parameters.begin() + static_cast<std::ptrdiff_t>(arguments.positional.size());
    const bool known = std::any_of(left, parameters.end(), [&name = name](const auto& p) { return p.name == name; });
    if (!known) fail(fmt::format("macro '{}' takes no keyword argument '{}'", macro.name, name));
  }
  const Scope* home = scope_;
  while (home != &root_ && home->id != called.scope) home = home->parent;
  const ScopeGuard scope(*this, home);
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Value* given = arguments.find(i, parameters[i].name);
    Value value = make_undefined(fmt::format("parameter '{}' was not provided", parameters[i].name));
    if (given != nullptr) {
      value = *given;
    } else if (parameters[i].default_value) {
      value = evaluate(*parameters[i].default_value);
    }
    set_variable(parameters[i].name, std::move(value));
  }
  return Value(charged(capture(macro.body)));
}

Value make_undefined(std::string message) { return Undefined{std::make_shared<const std::string>(std::move(message))}; }

Value Evaluator::evaluate(const Expr& expr) {
  const Depth depth(*this);
  return evaluate_node(expr);
}

}  // namespace echelon::templates
