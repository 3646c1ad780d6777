// The syntax tree of a template, and its parser. Expressions and statements are plain structs: a kind, and the members
// that the kind uses. Every tree has bounded depth, so that walking and destroying it needs bounded stack.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/template_value.h"

namespace echelon::templates {

inline constexpr int kMaxParseDepth = 60;        ///< parentheses, blocks and calls inside each other
inline constexpr int kMaxExpressionDepth = 150;  ///< of an expression's tree; "a + b + c" has depth 3
inline constexpr size_t kMaxTemplateBytes = size_t{1} << 20;

enum class ExprKind {
  constant,   ///< value
  name,       ///< name
  list,       ///< children
  tuple,      ///< children
  dict,       ///< children: key, value, key, value
  attribute,  ///< children[0].name
  item,       ///< children[0][children[1]]
  slice,      ///< children[0][children[1]:children[2]:children[3]]; absent ones are null
  call,       ///< children[0](arguments)
  filter,     ///< children[0] | name(arguments); children[0] is null for the body of a filter block
  test,       ///< children[0] is name(arguments)
  negate,
  plus,
  logical_not,
  logical_and,
  logical_or,
  binary,     ///< children[0] op children[1], op one of + - * / // % **
  concat,     ///< children joined as text
  compare,    ///< children[0] ops[0] children[1] ops[1] ...; ops of == != < <= > >= in "not in"
  condition,  ///< children[1] if children[0] else children[2], which may be null
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Argument {
  std::string keyword;  ///< empty: by position
  int stars = 0;        ///< 1: *list, 2: **dict
  ExprPtr value;
};

struct Expr {
  ExprKind kind = ExprKind::constant;
  int line = 0;
  int depth = 1;
  std::string name;
  Value value;
  std::vector<ExprPtr> children;
  std::vector<std::string> ops;
  std::vector<Argument> arguments;
};

enum class StatementKind {
  text,       ///< text
  output,     ///< value
  set,        ///< targets[0] = value
  set_block,  ///< targets[0] = output of body
  if_,        ///< branches; the last may be without a condition
  for_,       ///< for targets[0] in value if condition: body, else otherwise
  macro,      ///< macro
  scope,      ///< with, and generation without targets: targets = values of its branches, then body
  filter,     ///< value applied to the output of body
  break_,
  continue_,
};

struct Statement;
using Block = std::vector<std::unique_ptr<Statement>>;

/// `name`, `name.attribute` of a namespace, or several targets that take the items of one value.
struct Target {
  std::string name, attribute;
  std::vector<Target> parts;
};

struct Branch {
  ExprPtr condition;  ///< null: else
  Block body;
};

struct MacroNode {
  std::string name;
  struct Parameter {
    std::string name;
    ExprPtr default_value;  ///< may be null
  };
  std::vector<Parameter> parameters;
  Block body;
};

struct Statement {
  StatementKind kind = StatementKind::text;
  int line = 0;
  std::string text;
  ExprPtr value, condition;
  std::vector<Target> targets;
  Block body, otherwise;
  std::vector<Branch> branches;
  MacroNode macro;
};

/// Throws Error(Part::text, "chat template, line N: ...").
Block parse_template(std::string_view source);

}  // namespace echelon::templates
