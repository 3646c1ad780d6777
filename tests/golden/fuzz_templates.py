#!/usr/bin/env python3
"""Makes up small templates from a grammar of the supported language, renders them with jinja2 and with our engine, and prints
where the two differ. Needs jinja2 (tests/python_environment).

fuzz_templates.py RENDER_TEMPLATES [--cases N] [--seed S] [--show N]   The program is a target of CMake. Exit code 1 on a difference.
"""
import argparse
import json
import random
import re
import subprocess
import sys
import warnings

import jinja_oracle

DATA = {
    "s": "Hello, Wörld", "t": "  a-b_c\n", "u": "x,y,,z", "w": "one two  three", "z": "", "h": "<b>&'\"</b>", "num": "42", "real": "-1.5",
    "n": 7, "m": -3, "o": 0, "f": 2.5, "g": -0.125, "yes": True, "no": False, "nil": None, "l": [3, 1, 2], "e": [], "words": ["b", "A", "c", "a"],
    "nested": [[1, 2], [3], []], "mixed": [1, "1", 1.0, None, True], "d": {"k": 1, "a": {"b": [1, {"c": "deep"}]}, "items": "own", "copy": 2},
    "people": [{"name": "Bo", "age": 3, "tags": ["x"]}, {"name": "al", "age": 1}, {"name": "Cy", "age": 3, "tags": []}],
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": " Hi {{ x }} "}, {"role": "assistant", "content": None}],
}
ATTRIBUTES = ["name", "age", "tags", "role", "content", "k", "a", "b", "items", "nope", "copy", "0", "1", "x"]
STRINGS = ["''", "'a'", "'l'", "' '", "', '", "'x'", "'ab'", "'\\n'", "'é'", "\"it's\"", "'%s'", "'{}'", "'one'", "'-'"]
NUMBERS = ["0", "1", "2", "-1", "3", "10", "1.5", "-2", "0.0", "1e3", "0x1F", "1_0"]
TESTS = ["defined", "undefined", "none", "string", "mapping", "number", "integer", "float", "boolean", "true", "false", "sequence", "iterable",
         "callable", "odd", "even", "lower", "upper", "escaped", "divisibleby(2)", "eq(1)", "equalto('a')", "ne(1)", "gt(1)", "lt('b')", "ge(0)", "le(2)",
         "in([1, 'a'])", "sameas(none)", "sameas(true)", "filter", "test"]
FILTERS = ["abs", "capitalize", "count", "default('d')", "d('d', true)", "default", "dictsort", "dictsort(by='value')", "e", "escape", "first", "float", "float(1.5)",
           "indent", "indent(2)", "indent(2, true)", "indent('> ', blank=true)", "int", "int(5)", "int(base=16)", "items|list", "join", "join(', ')", "join('-', attribute='name')",
           "last", "length", "list", "lower", "map('upper')|list", "map(attribute='name')|list", "map(attribute='tags', default='?')|list", "map('length')|list",
           "map(attribute='a.b.0')|list", "max", "min", "max(attribute='age')", "reject('odd')|list", "rejectattr('age', 'gt', 1)|list", "replace('a', 'b')",
           "replace('l', '', 1)", "reverse|list", "round", "round(1)", "round(1, 'floor')", "round(method='ceil')", "safe", "select|list", "select('string')|list",
           "selectattr('age')|list", "selectattr('name', 'equalto', 'Bo')|list", "sort", "sort(reverse=true)", "sort(attribute='age,name')", "string", "sum",
           "sum(attribute='age')", "sum(start=10)", "title", "tojson", "tojson(indent=2)", "tojson(ensure_ascii=true)", "tojson(sort_keys=true)",
           "tojson(separators=(',', ':'))", "trim", "trim('ab')", "unique|list", "upper", "wordcount", "batch(2)|list", "batch(2, 'x')|list", "slice(2)|list",
           "slice(2, 'x')|list", "groupby('age')|list", "center(9)", "truncate(8)", "truncate(5, true, '..')", "format(1)", "attr('name')", "forceescape",
           "sort(case_sensitive=true)", "unique(attribute='age')|list", "map('default', 'q')|list", "urlencode", "last", "first"]
METHODS = ["upper()", "lower()", "title()", "capitalize()", "swapcase()", "strip()", "lstrip()", "rstrip()", "strip('a ')", "rstrip('\\n')", "lstrip(' H')", "split()", "split(',')",
           "split(' ', 1)", "rsplit(',', 1)", "rsplit(none, 1)", "splitlines()", "splitlines(true)", "startswith('a')", "startswith(('H', 'x'))", "startswith('e', 1)", "endswith('c\\n')",
           "find('l')", "find('l', 4)", "rfind('l')", "rfind('l', 0, 3)", "index('l')", "rindex('l')", "count('l')", "count('')", "count('l', 3)", "replace('l', 'LL')",
           "replace('', '-')", "replace('l', 'x', 1)", "join(words)", "join(l)", "join('abc')", "isdigit()", "isalpha()", "isalnum()", "isspace()", "isupper()", "islower()", "istitle()",
           "isdecimal()", "isnumeric()", "isascii()", "isidentifier()", "isprintable()", "removeprefix('He')", "removesuffix('z')", "partition(',')", "rpartition(',')", "zfill(5)", "ljust(9)", "rjust(9, '.')", "center(9, '*')",
           "format(1, x=2)", "casefold()", "expandtabs(2)", "items()|list", "keys()|list", "values()|list", "get('k')", "get('q')", "get('q', 5)", "get('a', {}).b", "copy()", "index(1)", "count(1)",
           "items()", "keys()", "values()", "append(1)", "pop()", "update({})", "nope()"]
BINARY = ["+", "+", "-", "*", "/", "//", "%", "**", "~", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]


class Grammar:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.names = sorted(DATA)

    def pick(self, items):
        return self.random.choice(items)

    def atom(self):
        kind = self.random.randrange(10)
        if kind < 5:
            return self.pick(self.names + ["missing"])
        if kind < 7:
            return self.pick(STRINGS)
        if kind < 9:
            return self.pick(NUMBERS)
        return self.pick(["true", "none", "False", "loop.index", "x", "y", "ns.v", "range(3)", "range(5, 0, -2)", "namespace(a=1)", "dict(a=1)", "[]", "{}", "()"])

    def expression(self, depth):
        if depth <= 0:
            return self.atom()
        inner = lambda: self.expression(depth - 1 - self.random.randrange(2))
        kind = self.random.randrange(24)
        if kind < 5:
            return f"{inner()}|{self.pick(FILTERS)}"
        if kind < 9:
            return f"{self.operand(depth)}.{self.pick(METHODS)}"
        if kind < 13:
            return f"{inner()} {self.pick(BINARY)} {inner()}"
        if kind < 14:
            return f"({inner()})"
        if kind < 16:
            return f"{inner()} is {self.pick(['', 'not '])}{self.pick(TESTS)}"
        if kind < 17:
            return f"{self.operand(depth)}.{self.pick(ATTRIBUTES)}"
        if kind < 18:
            return f"{self.operand(depth)}[{inner()}]"
        if kind < 19:
            bounds = [self.pick(["", "", "0", "1", "-1", "2", "-2", "9"]) for _ in range(self.pick([2, 2, 3]))]
            return f"{self.operand(depth)}[{':'.join(bounds)}]"
        if kind < 20:
            return f"{inner()} if {inner()}" + (f" else {inner()}" if self.random.random() < 0.8 else "")
        if kind < 21:
            return f"[{', '.join(inner() for _ in range(self.random.randrange(4)))}]"
        if kind < 22:
            return "{" + ", ".join(f"{self.pick(STRINGS + NUMBERS)}: {inner()}" for _ in range(self.random.randrange(3))) + "}"
        if kind < 23:
            return f"{self.pick(['not ', '-', '+'])}{inner()}"
        return f"({inner()}, {inner()})"

    def operand(self, depth):
        return self.atom() if self.random.random() < 0.6 else f"({self.expression(depth - 1)})"

    def tag(self, inside):
        left = self.pick(["{%", "{%", "{%-", "{%-", "{%+"])
        right = self.pick(["%}", "%}", "-%}", "-%}", "+%}"])
        return f"{left} {inside} {right}"

    def space(self):
        return self.pick(["", "", " ", "\n", "  ", "\n  ", " \n", "q", "q\n", "\n\n "])

    def body(self, depth):
        return "".join(self.space() + self.statement(depth) for _ in range(1 + self.random.randrange(2))) + self.space()

    def statement(self, depth):
        kind = self.random.randrange(20) if depth > 0 else self.random.randrange(6)
        expression = lambda: self.expression(self.random.randrange(1, 3))
        if kind < 6:
            left, right = self.pick([("{{", "}}"), ("{{-", "}}"), ("{{", "-}}"), ("{{-", "-}}")])
            return f"{left} {expression()} {right}"
        if kind < 8:
            other = self.tag("else") + self.body(depth - 1) if self.random.random() < 0.5 else ""
            middle = self.tag("elif " + expression()) + self.body(depth - 1) if self.random.random() < 0.3 else ""
            return self.tag("if " + expression()) + self.body(depth - 1) + middle + other + self.tag("endif")
        if kind < 12:
            iterated = self.pick(["l", "words", "people", "messages", "d", "d.items()", "nested", "range(3)", "s[:3]", "e", "l|reverse", "words|map('upper')", expression()])
            targets = self.pick(["x", "x", "x", "x, y", "(x, y)"]) if "items" not in iterated else "x, y"
            condition = " if " + expression() if self.random.random() < 0.2 else ""
            extra = self.pick(["", "", "", "{% if loop.index == 2 %}{% break %}{% endif %}", "{% if x == 1 %}{% continue %}{% endif %}", "{{ loop.index }}/{{ loop.last }}",
                               "{{ loop.cycle('a', 'b') }}", "{{ loop.previtem }}{{ loop.nextitem }}", "{{ loop.changed(x) }}", "{{ loop.revindex0 }}{{ loop.length }}"])
            other = self.tag("else") + "none" if self.random.random() < 0.2 else ""
            return self.tag(f"for {targets} in {iterated}{condition}") + extra + self.body(depth - 1) + other + self.tag("endfor")
        if kind < 14:
            target = self.pick(["x", "y", "n", "s", "ns.v", "x, y"])
            return self.tag(f"set {target} = {expression()}")
        if kind < 15:
            return self.tag("set " + self.pick(["x", "ns.v", "x | upper"])) + self.body(depth - 1) + self.tag("endset")
        if kind < 16:
            call = self.pick(["m(1)", "m(n, y=2)", "m()", "m(y=s)", "m(1, 2)", "m(1, x=2)", "m(x=words)|upper", "m(*[1, 2])", "m(**{'x': 1})"])
            return self.tag("macro m(x, y=n)") + self.body(depth - 1) + self.tag("endmacro") + "{{ " + call + " }}"
        if kind < 17:
            return self.tag(f"with x = {expression()}, y = x") + self.body(depth - 1) + self.tag("endwith")
        if kind < 18:
            return self.tag("filter " + self.pick(["upper", "trim", "replace('a', 'b')", "indent(2, true)", "title|trim"])) + self.body(depth - 1) + self.tag("endfilter")
        if kind < 19:
            return self.tag("generation") + self.body(depth - 1) + self.tag("endgeneration")
        return self.pick(["{# c #}", "{#- c -#}", "{% raw %} {{ x }} {% endraw %}", "{%- raw -%} {% x %} {%- endraw -%}", "{{ raise_exception('no') }}", "{#+ c #}"])

    def template(self):
        if self.random.random() < 0.6:
            return "{{ " + self.expression(self.random.randrange(1, 5)) + " }}"
        return "{% set ns = namespace(v=0) %}" + self.body(self.random.randrange(1, 4))


# What the engine does not promise (engine/text/README.md): texts that hold addresses, integers of more than 64 bits.
# jinja2 computes -2 first and then writes "-2 ** x" into its Python, where it means -(2 ** x).
NEGATIVE_POWER = re.compile(r"-[\d._]+\)* \*\*")
UNPROMISED = re.compile(r" at 0x|<(class|function|Macro|bound|built-in|LoopContext|Cycler)|\d{19}|\dj\)?", re.IGNORECASE)


# And those errors of ours that stand for such a case: the last one is a slice of a number that jinja2 computes before it renders.
UNPROMISED_ERRORS = re.compile("too large|complex|is not subscriptable")


def differs(expected, ours):
    if UNPROMISED_ERRORS.search(ours.get("error", ours.get("bad_syntax", ""))):
        return False
    if "text" in expected:
        return not UNPROMISED.search(expected["text"]) and ours.get("text") != expected["text"]
    if "raised" in expected:
        return ours.get("raised") != expected["raised"]
    return "error" not in ours and "bad_syntax" not in ours


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=20)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # Python's compiler about what the grammar made up
    grammar = Grammar(options.seed)
    sources = sorted({grammar.template() for _ in range(options.cases)})
    sources = [source for source in sources if not NEGATIVE_POWER.search(source)]
    env = jinja_oracle.environment()
    expected = [jinja_oracle.render(env, source, DATA) for source in sources]
    cases = json.dumps({"now": jinja_oracle.NOW_FIELDS, "data": DATA, "sources": sources})
    results = json.loads(subprocess.run([options.program], input=cases, capture_output=True, text=True, check=True).stdout)
    wrong = [case for case in zip(sources, expected, results) if differs(case[1], case[2])]
    for source, said, ours in sorted(wrong, key=lambda case: len(case[0]))[:options.show]:
        del ours["ms"]
        print(f"{source!r}\n  jinja2 {said}\n  ours   {ours}")
    texts = sum("text" in said for said in expected)
    print(f"{len(sources)} templates, {texts} of them texts, seed {options.seed}: {len(wrong)} differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
