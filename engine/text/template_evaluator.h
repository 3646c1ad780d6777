// Runs a parsed template over variables. Steps, depth, and the sizes of strings and of the output are limited, so that
// neither a hostile template nor a hostile conversation holds a thread or the memory. Internal to this folder.
#pragma once

#include <ctime>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/text/template_ast.h"

namespace echelon::templates {

inline constexpr int64_t kMaxSteps = 10'000'000;  ///< nodes walked, items made, and one per kCharsPerStep of text
inline constexpr size_t kCharsPerStep = 16;
inline constexpr int kMaxEvalDepth = 400;                 ///< statements, expressions and macros inside each other
inline constexpr size_t kMaxTextBytes = size_t{1} << 25;  ///< of one string, and of the output
inline constexpr int64_t kMaxRange = 100'000;             ///< as Jinja's sandbox

/// The arguments of a call, evaluated.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
  /// By position, or by name; nullptr when absent.
  const Value* find(size_t position, std::string_view name) const;
  /// Fails when the argument is absent.
  const Value& need(size_t position, std::string_view name) const;
  /// Fails when there are more arguments, or names that are not in `names`.
  void check(std::string_view function, size_t max_positional, std::initializer_list<std::string_view> names) const;
};

class Evaluator {
 public:
  /// `now` is what strftime_now writes.
  Evaluator(std::vector<std::pair<std::string, Value>> variables, std::tm now);
  /// Throws TemplateFailure. The line of the statement at fault: line().
  std::string run(const Block& block);
  int line() const { return line_; }

  /// Counts work; fails at kMaxSteps.
  void charge(size_t steps);
  /// Counts a text that was made; fails when it is too long.
  std::string charged(std::string text);
  /// object.name: a method, or a member.
  Value attribute(const Value& object, std::string_view name);
  /// object[key].
  Value item(const Value& object, const Value& key);
  Value apply_filter(const std::string& name, const Value& input, const Arguments& arguments);
  bool apply_test(const std::string& name, const Value& input, const Arguments& arguments);

 private:
  enum class Flow { normal, break_, continue_ };
  struct Scope {
    const Scope* parent = nullptr;
    std::vector<std::pair<std::string_view, Value>> variables;
  };
  class Depth;

  Flow run_block(const Block& block);
  Flow run_statement(const Statement& statement);
  Flow run_if(const Statement& statement);
  Flow run_for(const Statement& statement);
  ListRef loop_items(const Statement& statement);
  void run_with(const Statement& statement);
  std::string capture(const Block& block);
  void write(const Value& value);
  void assign(const Statement& statement, const Value& value);
  void assign_one(const Target& target, const Value& value);
  void set_variable(std::string_view name, Value value);
  Value look_up(const std::string& name) const;

  Value evaluate(const Expr& expr);
  Value evaluate_node(const Expr& expr);
  Value evaluate_binary(const Expr& expr);
  Value evaluate_compare(const Expr& expr);
  Value evaluate_slice(const Expr& expr);
  Value evaluate_filter(const Expr& expr, const Value& input);
  Arguments evaluate_arguments(const std::vector<Argument>& arguments);
  Value call(const Value& callee, const Arguments& arguments);
  Value call_macro(const MacroNode& macro, const Arguments& arguments);
  Value call_builtin(Builtin function, const Arguments& arguments);
  Value call_method(const Value& object, const std::string& name, const Arguments& arguments);
  Value loop_attribute(const LoopState& loop, std::string_view name);

  Scope root_;
  Scope* scope_ = &root_;
  std::deque<Namespace> namespaces_;
  std::string output_;
  std::tm now_;
  int64_t steps_ = 0;
  int depth_ = 0;
  int line_ = 0;
};

/// Arithmetic of two values, as Python's operators; `op` is one of + - * / // % **.
Value arithmetic(std::string_view op, const Value& left, const Value& right);
/// Whether text.name or dict.name is a method that exists here.
bool has_method(const Value& object, std::string_view name);
Value call_string_method(Evaluator& evaluator, const std::string& text, std::string_view name,
                         const Arguments& arguments);
Value call_container_method(const Value& object, std::string_view name, const Arguments& arguments);

/// text.strip(): both sides, or one; `characters` null strips white space.
std::string strip(const std::string& text, const Value* characters, bool left, bool right);
/// text.replace(from, to, count); count < 0: all.
std::string replace_text(Evaluator& evaluator, const std::string& text, const std::string& from, const std::string& to,
                         int64_t count);
std::vector<std::string> split_lines(const std::string& text);
std::string capitalize(const std::string& text);
std::string title(const std::string& text);

}  // namespace echelon::templates
