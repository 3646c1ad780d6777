#include "engine/grammar/gbnf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/grammar/reference.h"

namespace echelon {
namespace {

using testing::HasSubstr;

TEST(Gbnf, ReadsAllOfTheNotation) {
  const auto grammar = compile(GrammarKind::gbnf, R"gbnf(
# arithmetic
root  ::= (expr "=" ws term "\n"){1,2}
expr  ::= term ([-+*/] term)*
term  ::= ident | num | "(" ws expr
            ")" ws
ident ::= [a-z] [a-z0-9_]* ws   # names
num   ::= [0-9]+ ws
ws    ::= [ \t\n]*
)gbnf");
  EXPECT_TRUE(accepts(grammar, "x = 1\n"));
  EXPECT_TRUE(accepts(grammar, "(a+(b*2))/c=7\n"));
  EXPECT_TRUE(accepts(grammar, "x=1\ny=2\n"));
  EXPECT_FALSE(accepts(grammar, "x=1"));
  EXPECT_FALSE(accepts(grammar, "x=1\ny=2\nz=3\n"));
  EXPECT_FALSE(accepts(grammar, "(a=1\n"));
}

TEST(Gbnf, ReadsEscapesAndClasses) {
  const auto grammar = compile(GrammarKind::gbnf, R"gbnf(root ::= "\"\\\x41\u00e9" [^a-c\]\-] . [é-ü]? a-b_1
a-b_1 ::= "!"{2} | "?"{,1})gbnf");
  EXPECT_TRUE(accepts(grammar, "\"\\Aéd😀é!!"));
  EXPECT_TRUE(accepts(grammar, "\"\\Aéd\n?"));
  EXPECT_TRUE(accepts(grammar, "\"\\Aéd\n"));
  EXPECT_FALSE(accepts(grammar, "\"\\Aéa\n"));
  EXPECT_FALSE(accepts(grammar, "\"\\Aé]\n"));
  EXPECT_FALSE(accepts(grammar, "\"\\Aé-\n"));
}

TEST(Gbnf, SaysWhatIsWrongAndWhere) {
  const auto told = [](std::string text) { return refusal(GrammarKind::gbnf, std::move(text)); };
  EXPECT_THAT(told("a ::= \"x\""), HasSubstr("no rule \"root\""));
  EXPECT_THAT(told("root ::= a"), HasSubstr("\"a\" is not defined"));
  EXPECT_THAT(told("root ::= \"x\"\nroot ::= \"y\""), HasSubstr("line 2: rule \"root\" is there twice"));
  EXPECT_THAT(told("root = \"x\""), HasSubstr("expected ::="));
  EXPECT_THAT(told("root ::= (\"x\""), HasSubstr("does not end"));
  EXPECT_THAT(told("root ::= \"x"), HasSubstr("does not end"));
  EXPECT_THAT(told("root ::= [z-a]"), HasSubstr("not a range"));
  EXPECT_THAT(told("root ::= root \"x\" | \"y\""), HasSubstr("left-recursive"));
  EXPECT_THAT(told("root ::= \"\\q\""), HasSubstr("escape"));
  EXPECT_THAT(told("root ::= \"x\"{3,1}"), HasSubstr("above the greatest"));
  EXPECT_THAT(told("root ::= $"), HasSubstr("expected a literal"));
  EXPECT_THAT(told("root ::= \"x\" root"), HasSubstr("matches no text"));
  EXPECT_THAT(told(""), HasSubstr("no rule"));
}

}  // namespace
}  // namespace echelon
