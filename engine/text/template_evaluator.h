// Runs a parsed template over variables. Steps, depth, and the sizes of strings and of the output are limited, so that
// neither a hostile template nor a hostile conversation holds a thread or the memory. Internal to this folder.
#pragma once

#include <array>
#include <ctime>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/text/template_ast.h"

namespace echelon::templates {

inline constexpr int kMaxEvalDepth = 400;      ///< statements, expressions and macros inside each other
inline constexpr int64_t kMaxRange = 100'000;  ///< as Jinja's sandbox

/// The arguments of a call, evaluated.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
  /// By position, or by name; nullptr when absent.
  const Value* find(size_t position, std::string_view name) const;
  /// Fails when the argument is absent.
  const Value& need(size_t position, std::string_view name) const;
  /// Fails when there are more arguments than parameters, names that no parameter has, or one parameter twice.
  void check(std::string_view function, std::span<const std::string_view> parameters) const;
  void check_count(std::string_view function, size_t least, size_t most) const;  ///< none by name, either
};

class Evaluator {
 public:
  /// `now` is what strftime_now writes.
  Evaluator(std::vector<std::pair<std::string, Value>> variables, std::tm now);
  /// Throws TemplateFailure. The line of the statement at fault: line().
  std::string run(const Block& block);
  int line() const { return line_; }

  Meter& meter() { return meter_; }
  void charge(size_t steps) { meter_.charge(steps); }
  /// Counts a text that was made; fails when it is too long.
  std::string charged(std::string text);
  /// str(x).
  std::string text_of(const Value& value) { return to_text(meter_, value); }
  /// object.name: a method, or a member.
  Value attribute(const Value& object, std::string_view name);
  /// object[key].
  Value item(const Value& object, const Value& key);
  Value apply_filter(const std::string& name, const Value& input, const Arguments& arguments);
  bool apply_test(const std::string& name, const Value& input, const Arguments& arguments);
  /// left op right, as Python's operators; `op` is one of + - * / // % **.
  Value arithmetic(std::string_view op, const Value& left, const Value& right);
  /// format % arguments, where a tuple is several: printf's conversions as Python has them (template_format.cc).
  std::string format_printf(const Value& format, const Value& arguments);
  /// format.format(arguments).
  std::string format_braces(const Value& format, const Arguments& arguments);

 private:
  enum class Flow { normal, break_, continue_ };
  struct Scope {
    const Scope* parent = nullptr;
    int64_t id = 0;
    std::vector<std::pair<std::string_view, Value>> variables;
  };
  class Depth;
  class ScopeGuard;

  Flow run_block(const Block& block);
  Flow run_statement(const Statement& statement);
  Flow run_if(const Statement& statement);
  Flow run_for(const Statement& statement);
  ListRef loop_items(const Statement& statement);
  Flow run_with(const Statement& statement);
  std::string capture(const Block& block);
  void write(const Value& value);
  void assign(const Target& target, const Value& value);
  void set_variable(std::string_view name, Value value);
  Value look_up(const std::string& name);

  Value evaluate(const Expr& expr);
  Value evaluate_node(const Expr& expr);
  Value evaluate_binary(const Expr& expr);
  Value evaluate_compare(const Expr& expr);
  Value evaluate_slice(const Expr& expr);
  Value slice_text(const Value& object, const std::array<Value, 3>& bounds);
  Value evaluate_filter(const Expr& expr, const Value& input);
  Arguments evaluate_arguments(const std::vector<Argument>& arguments);
  Value call(const Value& callee, const Arguments& arguments);
  Value call_macro(const Macro& macro, const Arguments& arguments);
  Value call_builtin(Builtin function, const Arguments& arguments);
  Value call_method(const Value& object, const std::string& name, const Arguments& arguments);
  Value loop_attribute(const std::shared_ptr<const LoopState>& loop, std::string_view name);

  Scope root_;
  Scope* scope_ = &root_;
  std::deque<Namespace> namespaces_;
  std::string output_;
  std::tm now_;
  Meter meter_;
  int64_t last_scope_ = 0;
  int depth_ = 0;
  int line_ = 0;
};

/// -value.
Value negated(const Value& value);
[[noreturn]] void fail_operands(std::string_view op, const Value& left, const Value& right);
/// Whether there is a filter or a test of this name.
bool has_filter(std::string_view name);
bool has_test(std::string_view name);
/// Whether text.name or dict.name is a method that exists here.
bool has_method(const Value& object, std::string_view name);
/// A method that changes its object: the sandbox hides it, and an entry of a dict behind it.
bool is_forbidden_method(const Value& object, std::string_view name);
Value call_string_method(Evaluator& evaluator, const Value& text, std::string_view name, const Arguments& arguments);
Value call_container_method(Evaluator& evaluator, const Value& object, std::string_view name,
                            const Arguments& arguments);
bool has_string_method(std::string_view name);
/// Fails when the argument is not a text.
const std::string& text_argument(const Arguments& arguments, size_t position, std::string_view name);
Value make_undefined(std::string message);

/// A filter: its parameters in order, so that arguments can be checked; variadic ones check theirs.
struct NamedFilter {
  std::string_view name;
  Value (*apply)(Evaluator&, const Value&, const Arguments&);
  std::array<std::string_view, 4> parameters = {};
  bool variadic = false;
};
/// Those that make a text or a number from one (template_text_filters.cc), sorted by name.
std::span<const NamedFilter> text_filters();
bool flag_argument(const Arguments& arguments, size_t position, std::string_view name, bool absent);

}  // namespace echelon::templates
