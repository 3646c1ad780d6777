// Templates made to hold a thread or to eat the memory end within a second, with an error. Each is one way of making
// much out of little; a limit that is missing shows as a test that takes minutes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <string>

#include "tests/engine/text/template_oracle.h"

namespace echelon::test {
namespace {

#if defined(__SANITIZE_ADDRESS__) || !defined(NDEBUG)
constexpr double kMaxSeconds = 60;  // only that it ends
constexpr bool kInstrumented = true;
#else
constexpr double kMaxSeconds = 5;  // one on a core of its own
constexpr bool kInstrumented = false;
#endif

/// Instrumented code takes ten times as long. Those that nest deeply run there all the same: its stack frames are
/// larger.
#define ECHELON_SKIP_INSTRUMENTED() \
  if (kInstrumented) GTEST_SKIP() << "measured in release builds only"

/// Of this thread: other programs on the machine do not count.
double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

std::string repeat(const std::string& text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

/// What the template says instead of a text; "text" when it renders one, which is right for some.
std::string result_within_limit(const std::string& source) {
  const double begin = cpu_seconds();
  const boost::json::object result = rendered(source, ChatInput());
  EXPECT_LT(cpu_seconds() - begin, kMaxSeconds) << source.substr(0, 200);
  if (result.contains("text")) return "text";
  return std::string(result.begin()->value().as_string());
}

/// 64 rounds of an assignment that makes ns.s longer.
std::string grow(const std::string& expression, const std::string& first = "'xy'") {
  return "{% set ns = namespace(s=" + first + ") %}{% for i in range(64) %}{% set ns.s = " + expression +
         " %}{% endfor %}{{ ns.s|length }}";
}

/// A list that holds the one before twice, 90 times: little to store, endless to walk.
std::string doubled(const std::string& use) {
  return "{% set ns = namespace(a=[1], b=[1], t=(1,), d={}) %}{% for i in range(90) %}{% set ns.a = [ns.a, ns.a] %}"
         "{% set ns.b = [ns.b, ns.b] %}{% set ns.t = (ns.t, ns.t) %}{% set ns.d = {'a': ns.d, 'b': ns.d} %}{% endfor "
         "%}" +
         use;
}

std::string many(const std::string& setup, const std::string& use, int rounds = 100000) {
  return "{% set " + setup + " %}{% for i in range(" + std::to_string(rounds) + ") %}{% set x = " + use +
         " %}{% endfor %}";
}

const auto kLimit = testing::ContainsRegex("steps|longer than|deeper|more than|too long|holds itself");

TEST(TemplateBombs, LoopsAndRanges) {
  ECHELON_SKIP_INSTRUMENTED();
  for (const std::string& bomb : {
           repeat("{% for i in range(100000) %}", 10) + "x" + repeat("{% endfor %}", 10),
           std::string("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"),
           std::string("{% for i in range(100000) %}{{ range(100000)|length }}{% endfor %}"),
           std::string("{{ range(10 ** 18)|list }}"),
           std::string("{% for i in range(100000) %}{{ loop.cycle(*range(1000)) }}{% endfor %}"),
           std::string("{% for i in range(100000) %}{% for j in range(100) %}{{ 0.1 * j }}{% endfor %}{% endfor %}"),
       }) {
    EXPECT_THAT(result_within_limit(bomb), kLimit) << bomb.substr(0, 100);
  }
}

TEST(TemplateBombs, TextsThatGrow) {
  ECHELON_SKIP_INSTRUMENTED();
  for (const char* growth : {"ns.s + ns.s", "ns.s ~ ns.s", "ns.s * 2", "(ns.s + ns.s)|upper", "[ns.s, ns.s]|join(ns.s)",
                             "ns.s.join([ns.s, ns.s])", "ns.s|replace('x', ns.s)", "ns.s.replace('', ns.s)",
                             "'%s%s' % (ns.s, ns.s)", "'{0}{0}'.format(ns.s)", "[ns.s, ns.s]|string",
                             "[ns.s, ns.s]|tojson", "(ns.s|e) + '<' + ns.s", "ns.s|indent(ns.s, true, true) + ns.s"}) {
    EXPECT_THAT(result_within_limit(grow(growth)), kLimit) << growth;
  }
  EXPECT_THAT(result_within_limit(grow("ns.s + ns.s", "[1]")), kLimit);
  EXPECT_THAT(result_within_limit("{{ 'x' * 10 ** 12 }}"), kLimit);
  EXPECT_THAT(result_within_limit("{{ ([1] * 100000) * 100000 }}"), kLimit);
  EXPECT_THAT(result_within_limit("{{ 'x'.center(10 ** 12) }}"), kLimit);
  EXPECT_THAT(result_within_limit("{{ '%1000000000d' % 1 }}"), kLimit);
  EXPECT_THAT(result_within_limit("{{ '{:1000000000}'.format(1) }}"), kLimit);
  EXPECT_THAT(result_within_limit("{{ ('\\t' * 10000000).expandtabs(1000) }}"), kLimit);
  EXPECT_THAT(result_within_limit("{{ ('x\\n' * 1000000)|indent('y' * 1000000) }}"), kLimit);
  EXPECT_THAT(result_within_limit("{{ (['\\u0001' * 1000000] * 1000)|tojson }}"), kLimit);
  EXPECT_THAT(result_within_limit("{{ ([[1] * 1000] * 100000)|sum(start=[]) }}"), kLimit);
  EXPECT_THAT(result_within_limit("{{ [1]|batch(10 ** 12, 1)|list }}"), kLimit);
  EXPECT_THAT(result_within_limit(many("s = 'x' * 1000000", "s.upper()")), kLimit);
  EXPECT_THAT(result_within_limit("{% set s = 'x' * 1000000 %}{% for i in range(1000) %}{{ s }}{% endfor %}"), kLimit);
}

TEST(TemplateBombs, ValuesThatShareTheirParts) {
  for (const char* use :
       {"{{ ns.a }}", "{{ ns.a|tojson }}", "{{ ns.a == ns.b }}", "{{ ns.a|string }}", "{{ {ns.t: 1} }}",
        "{{ ns.d|string|length }}", "{{ [ns.a, ns.b, ns.a]|sort }}", "{{ [ns.t, ns.t]|unique|list }}"}) {
    EXPECT_THAT(result_within_limit(doubled(use)), kLimit) << use;
  }
  EXPECT_THAT(result_within_limit("{% set ns = namespace() %}{% set ns.a = [ns, ns] %}{{ ns }}"), kLimit);
}

TEST(TemplateBombs, Macros) {
  for (const char* bomb : {
           "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
           "{% macro m(a=m()) %}{% endmacro %}{{ m() }}",
           "{% macro m(x) %}{% if x > 0 %}{{ m(x - 1) }}{{ m(x - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
           "{% macro m(x) %}{% if x > 0 %}{{ m(x - 1) }}{{ m(x - 1) }}{% else %}xxxxxxxx{% endif %}{% endmacro %}{{ "
           "m(40) }}",
       }) {
    EXPECT_THAT(result_within_limit(bomb), kLimit) << bomb;
  }
}

TEST(TemplateBombs, SearchesInTheirWorstCase) {
  ECHELON_SKIP_INSTRUMENTED();
  const std::string text = "a = 'a' * 20000000";
  for (const char* use :
       {"a.find('a' * 1000000 + 'b')", "a.rfind('b' + 'a' * 1000000)", "('a' * 1000000 + 'b') in a", "a.count('a')",
        "a.count('aa')", "a.split('a')|length", "a|replace('a' * 1000000 + 'b', '')", "a.strip('a')",
        "a.rpartition('b')", "a.strip('bcdef' * 100000 + 'a')", "(a ~ 'b').endswith((a,) * 1000)"}) {
    EXPECT_THAT(result_within_limit(many(text, use)), kLimit) << use;
  }
  EXPECT_THAT(result_within_limit(many("a = 'é' * 5000000", "a[-1]")), kLimit);
  EXPECT_THAT(result_within_limit(many("a = 'é' * 5000000", "a[::-1]")), kLimit);
  EXPECT_THAT(result_within_limit(many("a = ' ' * 20000000", "a.strip()")), kLimit);
  EXPECT_THAT(result_within_limit(many("a = {}", "a['x' * 1000000]")), kLimit);
}

TEST(TemplateBombs, ListsAndDictsInTheirWorstCase) {
  ECHELON_SKIP_INSTRUMENTED();
  const std::string list = "a = range(100000)|list";
  for (const char* use :
       {"a|sort(reverse=true)", "a|unique|list", "a|map('string')|list", "a|select('in', a)|list", "a|batch(1)|list",
        "a|slice(100000)|list", "dict(a|batch(2))", "a == a[:]", "a + a", "a|join", "a|tojson"}) {
    EXPECT_THAT(result_within_limit(many(list, use)), kLimit) << use;
  }
  const std::string dict = "a = dict(range(100000)|batch(2))";
  for (const char* use : {"a == dict(a)", "a|dictsort", "dict(a)", "a.items()|list", "a|tojson(sort_keys=true)"}) {
    EXPECT_THAT(result_within_limit(many(dict, use)), kLimit) << use;
  }
  EXPECT_THAT(result_within_limit("{% set a = 'a' * 1000000 %}{{ ([a, a ~ 'b', a] * 10000)|sort|length }}"), kLimit);
  EXPECT_THAT(result_within_limit("{{ ([{}] * 1000)|sort(attribute='a,' * 500000) }}"), kLimit);
}

TEST(TemplateBombs, LongChainsOfFilters) {
  ECHELON_SKIP_INSTRUMENTED();
  const std::string chain = repeat("|upper|lower|title|trim|capitalize", 20);
  EXPECT_THAT(result_within_limit("{% set a = 'éa ' * 1000000 %}{{ a" + chain + "|length }}"), kLimit);
  EXPECT_THAT(result_within_limit("{% set a = 'ab ' * 1000000 %}{{ a" + chain + "|length }}"), kLimit);
  EXPECT_THAT(result_within_limit("{% set a = 'ab' * 8000000 %}{{ a" +
                                  repeat("|replace('a', 'b')|replace('b', 'a')", 50) + "}}"),
              kLimit);
  EXPECT_THAT(result_within_limit("{{ a" + repeat("|lower", 100000) + " }}"), kLimit);
}

TEST(TemplateBombs, DepthAndLengthOfTheSource) {
  for (const std::string& bomb : {
           "{{ " + repeat("(", 5000) + "1" + repeat(")", 5000) + " }}",
           "{{ " + repeat("[", 5000) + repeat("]", 5000) + " }}",
           repeat("{% if 1 %}", 5000) + repeat("{% endif %}", 5000),
           "{{ " + repeat("not ", 50000) + "1 }}",
           "{{ " + repeat("-", 50000) + "1 }}",
           "{{ 1" + repeat(" + 1", 200000) + " }}",
           "{{ a" + repeat(".b", 200000) + " }}",
           "{{ " + repeat("1 if 0 else ", 50000) + "1 }}",
           "{{ a" + repeat("[a", 5000) + repeat("]", 5000) + " }}",
           "{% set " + repeat("(", 50000) + "a" + repeat(")", 50000) + " = 1 %}",
           "{{ " + repeat("f(", 5000) + repeat(")", 5000) + " }}",
           std::string(2 << 20, 'x'),
       }) {
    EXPECT_THAT(result_within_limit(bomb), kLimit) << bomb.substr(0, 60);
  }
  for (const std::string& broken : {repeat("{% ", 300000), repeat("{{ ", 300000), repeat("{#", 400000),
                                    "{% raw %}" + repeat("{% endraw", 100000), "{{" + repeat(" ", 1000000)}) {
    EXPECT_NE(result_within_limit(broken), "text") << broken.substr(0, 60);
  }
  std::string names;
  for (int i = 0; i < 20000; ++i) names += "{% set v" + std::to_string(i) + " = 1 %}";
  EXPECT_THAT(result_within_limit(names + "{% for i in range(100000) %}{{ v19999 }}{% endfor %}"), kLimit);
}

TEST(TemplateBombs, AMessageOfAnErrorIsShort) {
  EXPECT_LE(result_within_limit("{{ raise_exception('x' * 30000000) }}").size(), 20000u);
  EXPECT_LE(result_within_limit("{{ {}['x' * 30000000].y }}").size(), 20000u);
}

}  // namespace
}  // namespace echelon::test
