#include "engine/grammar/json_schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>

#include "engine/grammar/json_numbers.h"
#include "tests/engine/grammar/reference.h"

namespace echelon {
namespace {

using testing::HasSubstr;

struct Case {
  std::string schema;
  std::vector<std::string> right, wrong;
};

void check(const std::vector<Case>& cases) {
  for (const Case& each : cases) {
    const auto grammar = compile(GrammarKind::json_schema, each.schema);
    for (const std::string& text : each.right) EXPECT_TRUE(accepts(grammar, text)) << each.schema << "\n" << text;
    for (const std::string& text : each.wrong) EXPECT_FALSE(accepts(grammar, text)) << each.schema << "\n" << text;
  }
}

TEST(JsonSchema, Types) {
  check({
      {"true",
       {"null", "true", "-1.5e10", R"("a\u00e9\n")", "[]", R"([1, "x", {}])", R"({"a": [{"b":null}]})", "0"},
       {"", "nul", "01", "1.", "+1", "\"\n\"", R"("\x")", "[1,]", "{\"a\"}", "[1 2]", "1 2", R"("\ud800")"}},
      {R"({"type": "boolean"})", {"true", "false"}, {"null", "1", " true"}},
      {R"({"type": "integer"})", {"0", "-7", "1234567890"}, {"1.0", "00", "-", "1e3", "12345678901234567"}},
      {R"({"type": "number"})", {"0.5", "-1e9", "3"}, {"\"3\"", ".5"}},
      {R"({"type": ["string", "null"]})", {"null", R"("x")"}, {"1"}},
      {R"({"type": "string", "nullable": true})", {"null", R"("x")"}, {"1"}},
      {R"({"type": "object"})", {"{}", R"({"a":1})", "{\n  \"a\": 1,\n  \"b\": 2\n}"}, {"[]", R"({"a":1,})"}},
      {R"({"type": "array"})", {"[]", "[1,\n\t2]"}, {"{}"}},
  });
}

TEST(JsonSchema, Strings) {
  check({
      {R"({"type": "string", "minLength": 2, "maxLength": 3})",
       {R"("ab")", R"("日本語")", R"("😀😀")", R"("😀\n")"},
       {R"("a")", R"("abcd")"}},
      {R"({"type": "string", "minLength": 1})", {R"("a")", R"("abcdef")"}, {"\"\""}},
      {R"({"type": "string", "maxLength": 0})", {"\"\""}, {R"("a")"}},
      {R"({"type": "string", "pattern": "^[A-Z]{2}\\d+$"})", {R"("AB1")", R"("ZZ007")"}, {R"("A1")", R"("xAB1")"}},
      {R"({"type": "string", "pattern": "b+"})", {R"("b")", R"("abbc")"}, {R"("a")"}},
      {R"({"pattern": "b", "maxLength": 2})", {R"("b")", R"("ab")"}, {R"("abc")", R"("aa")", "1"}},
      {R"({"type": "string", "format": "date"})",
       {R"("2024-02-29")", R"("1999-12-31")"},
       {R"("2023-02-29")", R"("2023-13-01")", R"("2023-04-31")", R"("1900-02-29")"}},
      {R"({"type": "string", "format": "date-time"})",
       {R"("2024-02-29T23:59:59Z")", R"("2024-01-01T00:00:00.5+01:00")"},
       {R"("2024-01-01T24:00:00Z")", R"("2024-01-01")"}},
      {R"({"type": "string", "format": "uuid"})",
       {R"("123e4567-e89b-12d3-a456-426614174000")"},
       {R"("123e4567e89b12d3a456426614174000")"}},
      {R"({"type": "string", "format": "ipv4"})", {R"("255.0.10.1")"}, {R"("256.0.0.1")", R"("1.2.3")"}},
      {R"({"type": "string", "format": "ipv6"})",
       {R"("::1")", R"("fe80::1")", R"("1:2:3:4:5:6:7:8")"},
       {R"("1::2::3")"}},
      {R"({"type": "string", "format": "email"})", {R"("a.b@example.org")"}, {R"("a@b")", R"("a b@c.de")"}},
      {R"({"type": "string", "format": "uri"})", {R"("https://a.org/b?c=d#e")"}, {R"("not a uri")"}},
      {R"({"type": "string", "format": "time"})", {R"("10:11:12Z")"}, {R"("10:11")"}},
      {R"({"type": "string", "format": "duration"})",
       {R"("P1Y2M3DT4H5M6S")", R"("PT5M")", R"("P2W")"},
       {R"("P")", R"("P1S")"}},
      {R"({"type": "string", "format": "hostname"})", {R"("a-b.example")"}, {R"("-a")"}},
      {R"({"type": "string", "format": "ipv4", "pattern": "^10\\."})", {R"("10.1.2.3")"}, {R"("11.1.2.3")"}},
      {R"({"type": "integer", "format": "int32"})", {"1"}, {"x"}},
  });
}

TEST(JsonSchema, ListedValues) {
  check({
      {R"({"enum": ["a", 1, null, true, 1.5, {"x": [1, 2]}]})",
       {R"("a")", "1", "null", "true", "1.5", R"({"x": [1, 2]})", R"({"x":[1,2]})"},
       {"2", R"("b")", "false", R"({"x":[1]})"}},
      {R"({"const": "é\n"})", {R"("é\n")"}, {R"("e")"}},
      {R"({"type": "integer", "enum": [1, 2.5, "x"]})", {"1"}, {"2.5", R"("x")"}},
      {R"({"enum": [1, 5, 10], "minimum": 2, "exclusiveMaximum": 10})", {"5"}, {"1", "10"}},
      {R"({"enum": ["ab", "abc", "xbc"], "minLength": 3, "pattern": "^a"})", {R"("abc")"}, {R"("ab")", R"("xbc")"}},
      {R"({"allOf": [{"enum": [1, 2, 3]}, {"enum": [2, 3, 4]}, {"not_a_keyword": 1}]})", {"2", "3"}, {"1", "4"}},
  });
}

TEST(JsonSchema, Arrays) {
  check({
      {R"({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3})",
       {"[1]", "[1, 2,3]"},
       {"[]", "[1,2,3,4]", "[\"a\"]", "[1 2]"}},
      {R"({"items": false})", {"[]"}, {"[1]"}},
      {R"({"prefixItems": [{"type": "string"}, {"type": "integer"}]})",
       {"[]", R"(["a"])", R"(["a", 1])", R"(["a", 1, null])"},
       {"[1]", R"(["a", "b"])"}},
      {R"({"prefixItems": [{"type": "string"}, {"type": "integer"}], "items": false, "minItems": 1})",
       {R"(["a"])", R"(["a", 1])"},
       {"[]", R"(["a", 1, null])"}},
      {R"({"prefixItems": [{"type": "string"}], "items": {"type": "null"}, "minItems": 2, "maxItems": 3})",
       {R"(["a",null])", R"(["a",null,null])"},
       {R"(["a"])", R"(["a",null,null,null])", R"(["a",1])"}},
      {R"({"items": [{"type": "string"}], "additionalItems": {"type": "null"}})", {R"(["a",null])"}, {R"(["a",1])"}},
      {R"({"allOf": [{"items": {"minimum": 1}}, {"items": {"maximum": 3}, "maxItems": 2}]})",
       {"[1,3]"},
       {"[0]", "[1,1,1]"}},
  });
}

TEST(JsonSchema, Objects) {
  check({
      {R"({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}, "required": ["a", "b"]})",
       {R"({"a": 1, "b": "x"})", R"({"a":1,"b":"x"})", "{\n  \"a\": 1,\n  \"b\": \"x\"\n}"},
       {R"({"a":1})", R"({"b":"x","a":1})", R"({"a":1,"b":"x","c":1})", R"({"a":1"b":"x"})", R"({"a":1,,"b":"x"})",
        "{}"}},
      {R"({"properties": {"a": {"const": 1}, "b": {"const": 2}, "c": {"const": 3}}})",
       {"{}", R"({"a":1})", R"({"b":2})", R"({"c":3})", R"({"a":1,"c":3})", R"({"b":2,"c":3})",
        R"({"a":1,"b":2,"c":3})"},
       {R"({"c":3,"a":1})", R"({"a":1,})", R"({,"a":1})", R"({"a":1,"a":1})"}},
      {R"({"properties": {"a": {"const": 1}, "b": {"const": 2}, "c": {"const": 3}}, "required": ["b"]})",
       {R"({"b":2})", R"({"a":1,"b":2})", R"({"b":2,"c":3})", R"({"a":1,"b":2,"c":3})"},
       {"{}", R"({"a":1})", R"({"a":1,"c":3})"}},
      {R"({"properties": {"a": {"const": 1}}, "additionalProperties": {"type": "null"}})",
       {"{}", R"({"a":1})", R"({"x":null})", R"({"a":1,"x":null,"":null})"},
       {R"({"a":null})", R"({"x":1})", R"({"x":null,"a":1})", R"({"\u0061":null})"}},
      {R"({"additionalProperties": {"type": "integer"}})", {"{}", R"({"any":1,"b":2})"}, {R"({"any":"x"})"}},
      {R"({"type": "object", "additionalProperties": false})", {"{}"}, {R"({"a":1})"}},
      {R"({"type": "object", "required": ["x"]})", {R"({"x":1})", R"({"x":[]})"}, {"{}", R"({"y":1})"}},
      {R"({"type": "object", "additionalProperties": true, "required": ["x"]})", {R"({"x":1,"y":2})"}, {"{}"}},
      {R"({"type": "object", "minProperties": 1, "maxProperties": 2})",
       {R"({"a":1})", R"({"a":1,"b":2})"},
       {"{}", R"({"a":1,"b":2,"c":3})"}},
      {R"({"patternProperties": {"^x_": {"type": "integer"}, "_y$": {"type": "string"}}, "additionalProperties": false})",
       {R"({"x_a":1,"b_y":"s"})"},
       {R"({"a":1})", R"({"x_a":"s"})", R"({"x_y":1})"}},
      {R"({"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}, "additionalProperties": {"type": "null"}})",
       {R"({"abc":null})"},
       {R"({"A":null})", R"({"":null})"}},
      {R"({"properties": {"quote\"d": {"const": 1}}, "required": ["quote\"d"]})", {R"({"quote\"d":1})"}, {"{}"}},
      {R"({"allOf": [{"properties": {"a": {"minimum": 1}}, "required": ["a"]},
                     {"properties": {"a": {"maximum": 3}, "b": {"const": 2}}, "required": ["b"]}]})",
       {R"({"a":2,"b":2})"},
       {R"({"a":0,"b":2})", R"({"a":4,"b":2})", R"({"a":2})"}},
      {R"({"allOf": [{"properties": {"a": true}, "additionalProperties": false}, {"properties": {"b": true}}]})",
       {"{}", R"({"a":1})"},
       {R"({"b":1})"}},
      {R"({"properties": {"a": {"properties": {"b": {"properties": {"c": {"type": "null"}}}}}}})",
       {"{}", R"({"a":{}})", R"({"a":{"b":{"c":null}}})"},
       {R"({"a":{"b":{"c":1}}})"}},
  });
}

TEST(JsonSchema, ReferencesAndAlternatives) {
  check({
      {R"({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "required": ["v"],
           "properties": {"v": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}}}})",
       {R"({"v":1})", R"({"v":1,"next":null})", R"({"v":1,"next":{"v":2,"next":{"v":3}}})"},
       {"{}", R"({"v":1,"next":{}})"}},
      {R"({"type": "array", "items": {"$ref": "#"}})", {"[]", "[[],[[]]]"}, {"[1]"}},
      {R"({"oneOf": [{"type": "integer"}, {"type": "string", "maxLength": 1}]})", {"1", R"("a")"}, {R"("ab")", "null"}},
      {R"({"type": "object", "properties": {"kind": {"type": "string"}}, "required": ["kind"], "anyOf": [
           {"properties": {"kind": {"const": "a"}, "x": {"const": 1}}, "required": ["x"]},
           {"properties": {"kind": {"const": "b"}}}]})",
       {R"({"kind":"a","x":1})", R"({"kind":"b"})"},
       {R"({"kind":"a"})", R"({"kind":"c"})", R"({"kind":"b","x":1})"}},
      {R"({"$ref": "#/definitions/a~1b%20c", "definitions": {"a/b c": {"const": 1}}})", {"1"}, {"2"}},
      {R"({"$defs": {"tree": {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}}},
           "allOf": [{"$ref": "#/$defs/tree"}, {"properties": {"name": {"const": "root"}}, "required": ["name"]}]})",
       {R"({"kids":[{"kids":[]}],"name":"root"})"},
       {R"({"kids":[]})", R"({"kids":[1],"name":"root"})"}},
      {R"({"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}], "$defs": {"a": {"type": "array", "items": {"$ref": "#"}}, "b": {"const": 0}}})",
       {"0", "[0,[0]]"},
       {"1", "[1]"}},
  });
}

TEST(JsonSchema, NumberBoundsAgreeWithArithmetic) {
  std::mt19937_64 random(3);
  const auto number = [&](int places) {
    std::string text = std::to_string(static_cast<int>(random() % 2300) - 1100);
    if (random() % 4 == 0) text = std::to_string(static_cast<int>(random() % 21) - 10);
    if (places > 0 && random() % 2 == 0) {
      text += '.';
      for (int i = 1 + static_cast<int>(random() % static_cast<uint64_t>(places)); i > 0; --i)
        text += static_cast<char>('0' + random() % 10);
    }
    return text;
  };
  const auto value = [](const std::string& text) { return std::stod(text); };
  int num_inside = 0;
  for (int round = 0; round < 300; ++round) {
    std::string low = number(2), high = number(2);
    if (value(low) > value(high)) std::swap(low, high);
    const bool integer = random() % 2 == 0, has_low = random() % 4 != 0, has_high = random() % 4 != 0;
    const bool low_open = random() % 2 == 0, high_open = random() % 2 == 0;
    std::string schema = integer ? R"({"type":"integer")" : R"({"type":"number")";
    if (has_low) schema += (low_open ? R"(,"exclusiveMinimum":)" : R"(,"minimum":)") + low;
    if (has_high) schema += (high_open ? R"(,"exclusiveMaximum":)" : R"(,"maximum":)") + high;
    schema += "}";
    std::shared_ptr<const Grammar> grammar;
    try {
      grammar = compile(GrammarKind::json_schema, schema);
    } catch (const NoTextError&) {
    }
    std::vector<std::string> texts = {low, high, "0", "-1", "1"};
    for (int i = 0; i < 40; ++i) texts.push_back(number(3));
    for (const std::string& text : texts) {
      const bool is_whole = text.find('.') == std::string::npos;
      const double x = value(text);
      bool expected = is_whole || !integer;
      if (has_low) expected &= low_open ? x > value(low) : x >= value(low);
      if (has_high) expected &= high_open ? x < value(high) : x <= value(high);
      if (text.starts_with("-0")) continue;  // zero has a spelling of its own
      ASSERT_EQ(grammar && accepts(grammar, text), expected) << schema << ' ' << text;
      num_inside += expected;
    }
  }
  EXPECT_GT(num_inside, 2000);
}

TEST(JsonSchema, Multiples) {
  check({
      {R"({"type": "integer", "multipleOf": 5})", {"0", "5", "-10", "125"}, {"1", "12"}},
      {R"({"type": "integer", "multipleOf": 25, "minimum": 30})", {"50", "75", "1000"}, {"25", "60"}},
      {R"({"type": "integer", "multipleOf": 100})", {"0", "100", "1200"}, {"150", "10"}},
      {R"({"type": "number", "multipleOf": 0.01})", {"1", "1.5", "1.25"}, {"1.255"}},
      {R"({"type": "number", "multipleOf": 0.01, "minimum": 0, "maximum": 1})",
       {"0", "0.99", "1", "1.00"},
       {"1.01", "-0.5"}},
      {R"({"type": "integer", "multipleOf": 1})", {"3"}, {"x"}},
  });
  for (int divisor : {2, 4, 8, 20, 40, 125, 200, 250, 500, 1000}) {
    const auto grammar =
        compile(GrammarKind::json_schema, R"({"type":"integer","multipleOf":)" + std::to_string(divisor) + "}");
    for (int x = 0; x < 3000; x += 1 + x / 400)
      EXPECT_EQ(accepts(grammar, std::to_string(x)), x % divisor == 0) << x << ' ' << divisor;
  }
}

TEST(JsonSchema, RefusesWhatItCannotEnforce) {
  const auto told = [](std::string text) { return refusal(GrammarKind::json_schema, std::move(text)); };
  EXPECT_THAT(told(R"({"not": {"type": "string"}})"), HasSubstr("\"not\" cannot be enforced"));
  EXPECT_THAT(told(R"({"type": "array", "uniqueItems": true})"), HasSubstr("uniqueItems"));
  EXPECT_THAT(told(R"({"type": "array", "contains": {}})"), HasSubstr("contains"));
  EXPECT_THAT(told(R"({"if": {}, "then": {}})"), HasSubstr("\"if\""));
  EXPECT_THAT(told(R"({"type": "thing"})"), HasSubstr("no type \"thing\""));
  EXPECT_THAT(told(R"({"type": "string", "format": "iri"})"), HasSubstr("\"iri\" cannot be enforced; known are date"));
  EXPECT_THAT(told(R"x({"type": "string", "pattern": "(?=a)"})x"), HasSubstr("look-around"));
  EXPECT_THAT(told(R"({"$ref": "other.json"})"), HasSubstr("not inside of this schema"));
  EXPECT_THAT(told(R"({"$ref": "#/$defs/none"})"), HasSubstr("leads nowhere"));
  EXPECT_THAT(told(R"({"$ref": "#"})"), HasSubstr("nothing but itself"));
  EXPECT_THAT(told(R"({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"})"),
              HasSubstr("nothing but itself"));
  EXPECT_THAT(told(R"({"type": "integer", "multipleOf": 7})"), HasSubstr("multipleOf"));
  EXPECT_THAT(told(R"({"type": "integer", "minimum": 3, "maximum": 2})"), HasSubstr("no text"));
  EXPECT_THAT(told(R"({"allOf": [{"type": "integer"}, {"type": "string"}]})"), HasSubstr("no text"));
  EXPECT_THAT(told(R"({"type": "object", "required": ["a"], "additionalProperties": false})"), HasSubstr("no text"));
  EXPECT_THAT(told(R"({"type": "object", "properties": {"self": {"$ref": "#"}}, "required": ["self"]})"),
              HasSubstr("no text"));
  EXPECT_THAT(told("false"), HasSubstr("no text"));
  EXPECT_THAT(told("3"), HasSubstr("has to be an object"));
  EXPECT_THAT(told("{"), HasSubstr("not JSON"));
  EXPECT_THAT(told(R"({"type": "string", "minLength": -1})"), HasSubstr("count"));
  EXPECT_THAT(told(R"({"type": "string", "minLength": 1e30})"), HasSubstr("count"));
  EXPECT_THAT(told(R"({"minimum": "3"})"), HasSubstr("not a number"));
  EXPECT_THAT(told(R"({"properties": []})"), HasSubstr("has to be an object"));
  EXPECT_THAT(told(R"({"type": "array", "maxItems": 1000000})"), HasSubstr("supported up to"));
  std::string many = R"({"allOf": [)";
  for (int i = 0; i < 12; ++i)
    many += std::string(i > 0 ? "," : "") + R"({"anyOf": [{"minLength": 1}, {"maxLength": 9}]})";
  EXPECT_THAT(told(many + "]}"), HasSubstr("combinations"));
}

TEST(JsonSchema, AnyObject) {
  const auto grammar = compile(GrammarKind::json_object, "");
  EXPECT_TRUE(accepts(grammar, R"({"a": [1, {"b": null}]})"));
  EXPECT_FALSE(accepts(grammar, "[]"));
  EXPECT_FALSE(accepts(grammar, "1"));
}

TEST(Decimal, ReadsWhatJsonSays) {
  const auto decimal = [](std::string_view text) { return decimal_of(boost::json::parse(text)); };
  EXPECT_EQ(decimal("-12.50").whole, "12");
  EXPECT_EQ(decimal("-12.50").fraction, "5");
  EXPECT_TRUE(decimal("-12.50").negative);
  EXPECT_EQ(decimal("1e20").whole, "100000000000000000000");
  EXPECT_EQ(decimal("1.5e-7").fraction, "00000015");
  EXPECT_EQ(decimal("18446744073709551615").whole, "18446744073709551615");
  EXPECT_FALSE(decimal("-0.0").negative);
  EXPECT_LT(compare(decimal("-2"), decimal("-1.5")), 0);
  EXPECT_LT(compare(decimal("9"), decimal("10")), 0);
  EXPECT_EQ(compare(decimal("1.0"), decimal("1")), 0);
  EXPECT_GT(compare(decimal("0.25"), decimal("0.2")), 0);
}

}  // namespace
}  // namespace echelon
