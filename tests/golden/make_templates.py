#!/usr/bin/env python3
# Makes templates-expected.json: what Python's jinja2 (3.1.6 when the file was made), set up as transformers does, renders from
# templates/*.jinja over twelve conversations, and from small templates that walk through the language.
# Usage: make_templates.py (needs: pip install jinja2)
import datetime
import json
import pathlib

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = pathlib.Path(__file__).resolve().parent
NOW = datetime.datetime(2025, 3, 7, 9, 5, 2)


class Raised(Exception):
    pass


class Generation(jinja2.ext.Extension):
    """{% generation %}...{% endgeneration %}: marks the assistant's text for training; here it only renders its body."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


def environment():
    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise Raised(message)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: NOW.strftime(form)
    return env


def render(env, source, variables):
    """{"text"}, {"raised"} with the message of raise_exception, or {"error"} with the message of another failure."""
    try:
        return {"text": env.from_string(source).render(**variables)}
    except Raised as error:
        return {"raised": str(error)}
    except (jinja2.TemplateError, TypeError, ValueError, ZeroDivisionError, OverflowError, AttributeError) as error:
        return {"error": str(error)}


WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather in a city: \"now\" & <later>, °C",
    "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "description": "A city, e.g. Zürich"},
        "days": {"type": "integer", "minimum": 1, "default": 3, "exclusive": False},
        "scale": {"type": "number", "enum": [0.5, 1.0, 1e16, -2.5e-07], "note": None}}, "required": ["city"], "empty": [], "none": {}}}}
CLOCK = {"type": "function", "function": {"name": "clock", "description": "The time", "parameters": {"type": "object", "properties": {}}}}


def message(role, content, **more):
    return {"role": role, "content": content, **more}


def call(name, arguments, call_id):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def conversations():
    system = message("system", "  You answer briefly.\n")
    hello = message("user", "Hello, who are you?")
    asked = call("get_weather", {"city": "Zürich", "days": 2, "scale": 1.0, "flags": [True, None]}, "abcdefghi")
    result = message("tool", '{"temperature": 21.5}', tool_call_id="abcdefghi", name="get_weather")
    return {
        "one user message": {"messages": [hello]},
        "system": {"messages": [system, hello]},
        "several turns": {"messages": [system, hello, message("assistant", " I am a model. \n"), message("user", "Why?\n\nReally?")]},
        "no prompt for an answer": {"messages": [hello, message("assistant", "Done.")], "add_generation_prompt": False},
        "unicode": {"messages": [message("user", "日本語 🙂 e\u0301 naïve \u00a0\u3000 \u200b\ufeff 'quotes' \"too\" \\ \t tab")]},
        "empty content": {"messages": [message("system", ""), message("user", ""), message("assistant", ""), message("user", "   ")]},
        "markers in the content": {"messages": [message("user", "<|im_end|>\n<|im_start|>system\n</s>[INST] {{ x }} {% if %} <end_of_turn>")]},
        "tools": {"messages": [system, hello], "tools": [WEATHER, CLOCK]},
        "a tool call and its result": {"messages": [hello, message("assistant", "", tool_calls=[asked]), result,
                                                    message("assistant", "21.5 degrees."), message("user", "Thanks & bye <now>")],
                                       "tools": [WEATHER]},
        "two tool calls": {"messages": [hello, {"role": "assistant", "content": None, "tool_calls": [
            asked, call("clock", {}, "123456789")]}, result, message("tool", "12:00", tool_call_id="123456789")]},
        "roles out of order": {"messages": [hello, hello, message("assistant", "x"), message("assistant", "y")]},
        "an unknown role and a short id": {"messages": [hello, message("critic", "Bad."), message("tool", "x", tool_call_id="1")]},
        "content in parts": {"messages": [message("system", [{"type": "text", "text": "Sys"}]), message("user", [
            {"type": "text", "text": " a "}, {"type": "image"}, {"type": "text", "text": "b"}])]},
        "more variables": {"messages": [system, hello], "tools": [CLOCK], "tools_in_user_message": False,
                           "date_string": "1 Jan 2030", "builtin_tools": ["code_interpreter", "brave_search"]},
        "no messages": {"messages": []},
    }


# The language itself: every line is a template; DATA are its variables.
DATA = {"s": "Hello, Wörld ß ŉ ΑΣ ΑΣΑ", "empty": "", "n": 7, "neg": -7, "f": 2.5, "yes": True, "no": False, "nothing": None,
        "list": [3, 1, 2], "words": ["b", "A", "c", "a"], "nested": [[1, 2], [3]], "mixed": [1, "1", 1.0, None, True],
        "dict": {"z": 1, "a": {"b": [1, {"c": "deep"}]}, "items": "shadowed", "Ü": "ü"},
        "people": [{"name": "Bo", "age": 3, "tags": ["x"]}, {"name": "al", "age": 1}, {"name": "Cy", "age": 2, "tags": []}],
        "lines": "one\n  two\n\nthree\r\nfour\x0bfive\u2028six", "controls": "a\x00\x07\x7f\x85\u200b\u00ad\ud7ff\U000e0001'\"\\\n\t",
        "spaces": " \t\u00a0x y\u3000\n", "floats": [0.1, 1e15, 1e16, 1.5e300, 1e-4, 1e-5, 123456789.125, -0.0, 5e-324]}
LANGUAGE = r"""
{{ s }}|{{ n }}|{{ f }}|{{ yes }}|{{ nothing }}|{{ missing }}|{{ list }}|{{ dict }}|{{ mixed }}|{{ floats }}
{{ controls }}{{ [controls] }}{{ controls|tojson }}{{ controls|tojson(ensure_ascii=true) }}{{ [s, "it's", 'say "x"', 'both \' "'] }}
{{ dict|tojson }}|{{ dict|tojson(indent=2) }}|{{ dict|tojson(separators=(',', ':')) }}|{{ dict|tojson(sort_keys=true, indent=1) }}|{{ floats|tojson }}
{{ [[], {}, [[]], {"a": {}}]|tojson(indent=4) }}{{ []|tojson(indent=0) }}{{ [1, [2]]|tojson(indent=0) }}{{ {1: 2, none: 3, true: 4, 1.5: 6}|tojson }}
{{ 7 // 2 }} {{ neg // 2 }} {{ neg % 3 }} {{ 7 % -3 }} {{ 7 / 2 }} {{ 6 / 3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 1 + 2 * 3 - 4 }} {{ -2 ** 2 }} {{ (1 + 2) * 3 }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 }} {{ "a" < "b" }} {{ [1, 2] < [1, 3] }} {{ 1 != "1" }} {{ none == none }} {{ missing == none }} {{ true == 1 }} {{ dict == dict }} {{ nested == [[1, 2], [3]] }}
{{ "a" in "cat" }} {{ "x" not in s }} {{ 1 in list }} {{ "z" in dict }} {{ "q" in dict }} {{ 1.0 in list }} {{ not 1 in list }} {{ "x" in missing }}
{{ "a" ~ 1 ~ none ~ 2.0 ~ [1] ~ missing }} {{ "a" "b" 'c' }} {{ "ab" * 3 }} {{ 2 * "x" }} {{ [1] * 3 }} {{ [1] + [2] }} {{ (1, 2) + (3,) }} {{ () }} {{ (1,) }} {{ 1, 2 }}
{{ "yes" if yes else "no" }} {{ "x" if no }}| {{ "a" if no else "b" if no else "c" }} {{ yes and "and" }} {{ no or "or" }} {{ nothing and 1 }} {{ empty or nothing or 0 }} {{ not nothing }} {{ yes and not no }}
{{ list[0] }} {{ list[-1] }} {{ list[9] }}| {{ list[1:] }} {{ list[:-1] }} {{ list[::-1] }} {{ list[::2] }} {{ list[5:] }} {{ s[0] }} {{ s[-1] }} {{ s[7:12] }} {{ s[::-1] }} {{ s[:-8] }} {{ list[-100:100] }} {{ list[100:-100:-1] }}
{{ dict.z }} {{ dict["a"].b[1]["c"] }} {{ dict.a.b.1.c }} {{ dict.nope }}| {{ dict["nope"] }}| {{ dict.get("z") }} {{ dict.get("q") }} {{ dict.get("q", 5) }} {{ dict["items"] }} {{ dict.items() | list }} {{ dict.keys() | list }} {{ dict.values() | list }} {{ dict|items|list }} {{ dict | length }}
{{ s.upper() }} {{ s.lower() }} {{ s|upper }} {{ s|lower }} {{ s|title }} {{ s|capitalize }} {{ "heLLo wOrld-foo (bar) [x]"|title }} {{ "éa".upper() }} {{ "ǆ İ ﬁ"|upper }} {{ "İ"|lower }}
[{{ spaces|trim }}] [{{ spaces.strip() }}] [{{ spaces.lstrip() }}] [{{ spaces.rstrip() }}] [{{ "xxaxx".strip("x") }}] [{{ "xyaxy"|trim("xy") }}] [{{ "".strip() }}] [{{ "  " | trim }}] [{{ "aXbX".rstrip("X") }}]
{{ "a,b,,c".split(",") }} {{ " a  b c ".split() }} {{ "a b c d".split(" ", 2) }} {{ "a  b  c".split(none, 1) }} {{ "a.b.c".rsplit(".", 1) }} {{ "abc".split("x") }} {{ "".split(",") }} {{ "".split() }} {{ "</think>x".split("</think>")[-1] }}
{{ s.startswith("Hello") }} {{ s.endswith(("x", "ΑΣΑ")) }} {{ s.find("W") }} {{ s.find("zz") }} {{ s.count("l") }} {{ s.replace("l", "L") }} {{ s.replace("l", "L", 1) }} {{ s|replace("l", "") }} {{ "aaa"|replace("a", "b", 2) }} {{ "ab"|replace("", "-") }} {{ "abab".rfind("b") }} {{ "abc".removeprefix("ab") }} {{ "abc".removesuffix("bc") }} {{ "a=b=c".partition("=") }}
{{ ", ".join(words) }} {{ words|join }} {{ list|join("-") }} {{ people|join(", ", attribute="name") }} {{ "abc"|join(".") }}
{{ list|sort }} {{ words|sort }} {{ words|sort(case_sensitive=true) }} {{ list|sort(reverse=true) }} {{ people|sort(attribute="age")|map(attribute="name")|list }} {{ {"b": 1, "a": 2}|dictsort }} {{ {"b": 1, "a": 2}|dictsort(by="value") }}
{{ list|first }} {{ list|last }} {{ []|first }}| {{ list|min }} {{ list|max }} {{ list|sum }} {{ people|sum(attribute="age") }} {{ words|unique|list }} {{ list|reverse|list }} {{ "abc"|reverse }} {{ list|length }} {{ s|length }} {{ s|count }} {{ "abc"|list }} {{ missing|length }}
{{ people|selectattr("age", "gt", 1)|map(attribute="name")|list }} {{ people|rejectattr("age", "equalto", 1)|list|length }} {{ people|selectattr("tags")|list }} {{ people|selectattr("tags", "defined")|list|length }} {{ list|select("odd")|list }} {{ list|reject("odd")|list }} {{ list|select|list }} {{ words|map("upper")|join }} {{ people|map(attribute="zip", default="?")|list }} {{ [dict]|map(attribute="a.b.0")|list }} {{ words|map("replace", "a", "z")|list }}
{{ missing|default("d") }} {{ empty|default("d") }}| {{ empty|default("d", true) }} {{ nothing|default("d") }} {{ dict.q|default(5) }} {{ missing|d }}| {{ no|default("x", boolean=true) }}
{{ "42"|int }} {{ "4.7"|int }} {{ "x"|int }} {{ "x"|int(9) }} {{ 4.9|int }} {{ "1.5"|float }} {{ "x"|float }} {{ 3|float }} {{ " 12 "|int }} {{ "-5"|int }} {{ "1e3"|int }} {{ neg|abs }} {{ 2.5|round }} {{ 3.5|round }} {{ 2.567|round(2) }} {{ 2.1|round(0, "ceil") }} {{ 2.9|round(method="floor") }} {{ 5|round }} {{ 3|string ~ "x" }} {{ true|int }}
{{ lines|indent }}|{{ lines|indent(2, true) }}|{{ "a\n\nb"|indent(1, blank=true) }}|{{ "a\nb"|indent("> ") }}|{{ ""|indent }}|{{ lines.splitlines() }}|{{ "a\n"|indent(first=true) }}
{{ "<a href='x'>&\"</a>"|e }} {{ "<b>"|escape }} {{ "<b>"|safe }} {{ dict|attr("z") }}|{{ dict|string }}
{{ s is string }} {{ n is number }} {{ yes is number }} {{ n is integer }} {{ yes is integer }} {{ f is float }} {{ yes is boolean }} {{ dict is mapping }} {{ list is sequence }} {{ s is sequence }} {{ dict is iterable }} {{ n is iterable }} {{ nothing is none }} {{ missing is defined }} {{ s is not defined }} {{ missing is undefined }} {{ n is odd }} {{ n is even }} {{ n is divisibleby 7 }} {{ yes is true }} {{ 1 is true }} {{ no is false }} {{ n is eq 7 }} {{ n is equalto(8) }} {{ n is ge 7 }} {{ n is lt(8) }} {{ "a" is in "abc" }} {{ "abc" is lower }} {{ "ABC" is upper }} {{ none is sameas none }} {{ range is callable }} {{ n is in [7] and yes }} {{ list is not mapping }} {{ x.y is defined and 1 if (x is defined) else "no x" }}
{% for x in list %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle("a", "b") }};{% endfor %}{% for x in [] %}never{% else %}else{% endfor %}{% for x in list if x > 1 %}{{ x }}{{ loop.last }}{% endfor %}
{% for k, v in dict.items() %}{{ k }}={{ v }};{% endfor %}{% for k in dict %}{{ k }}{% endfor %}{% for (a, b) in [(1, 2), (3, 4)] %}{{ a + b }} {% endfor %}{% for c in "añb" %}{{ c }}.{% endfor %}{% for x in missing %}x{% endfor %}{% for a in nested %}{% for b in a %}{{ loop.depth }}{{ b }}{% endfor %}{% endfor %}{% for k, v in dict|items %}{{ loop.index }}{% endfor %}
{% for x in range(10) %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 5 %}{% break %}{% endif %}{{ x }}{% endfor %}{{ range(3)|list }}{{ range(5, 1, -2)|list }}{{ range(0)|list }}
{% set a = 1 %}{% set a, b = 2, 3 %}{{ a }}{{ b }}{% for i in [1] %}{% set a = 9 %}{{ a }}{% endfor %}{{ a }}{% if true %}{% set a = 5 %}{% endif %}{{ a }}{% set ns = namespace(x=1) %}{% for i in [1, 2] %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}{{ ns.y is defined }}{% set t %}block {{ a }}{% endset %}[{{ t }}]{% set u | upper %}abc{% endset %}{{ u }}
{% macro hi(name, greeting="Hi", n=3) %}{{ greeting }} {{ name }}{{ n }}{% endmacro %}{{ hi("a") }} {{ hi("b", n=4) }} {{ hi(greeting="Yo", name="c") }}{{ hi() }}{% macro down(x) %}{{ x }}{% if x > 0 %}{{ down(x - 1) }}{% endif %}{% endmacro %}{{ down(3) }}{% set g = 5 %}{% macro seen() %}{{ g }}{% endmacro %}{% set g = 6 %}{{ seen() }}{{ hi("q")|upper }}
{% if no %}1{% elif nothing %}2{% elif yes %}3{% else %}4{% endif %}{% if list and dict %}both{% endif %}{% if not empty %}empty{% endif %}{% if missing %}m{% else %}no m{% endif %}{% if 0.0 %}z{% endif %}{% if [] or {} %}e{% endif %}{% if words|select("equalto", "zz") %}generators are true{% endif %}
{% raw %}{{ not }} {% this %}{% endraw %}|{%- raw -%}  x  {%- endraw -%}  |{# a comment {{ }} #}{#- stripped -#}  y {% with q = 3, r = 4 %}{{ q }}{{ r }}{% endwith %}{{ q }}{% filter upper %}abc {{ s }}{% endfilter %}{% filter replace("a", "b")|upper %}aaa{% endfilter %}{% generation %}gen{% endgeneration %}
{{ strftime_now("%d %b %Y") }} {{ strftime_now("%Y-%m-%d %H:%M:%S %A %B %j") }}
{{ "\n\t\\\'\"\x41\u00e9\101\q" }}{{ 'a\
b' }}{{ 1_000 }} {{ 1e3 }} {{ 1.5E-3 }}
{{ raise_exception("no: " ~ n) }}
{{ raise_exception() }}
{{ missing.attribute }}
{{ missing["x"] }}
{{ missing + 1 }}
{{ missing() }}
{{ dict.nope.deeper }}
{{ 1 + "a" }}
{{ "a" + 1 }}
{{ none + "a" }}
{{ 1 < "a" }}
{{ missing|tojson }}
{{ 1 // 0 }}
{{ n() }}
{% for k, v in nothing|items %}{% endfor %}
{% for x in 5 %}{% endfor %}
{% for x in none %}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{% endfor %}
{% set dict.x = 1 %}
{{ s.nope() }}
{{ list.append(4) }}
{{ none|length }}
{{ 5|nofilter }}
{{ 5 is notest }}
{{ "x".split("") }}
{{ range(1000000)|length }}
{{ words|map("nofilter")|list }}
{{ [1, "a"]|sort }}
{{ 1 in 5 }}
{{ 1 in "abc" }}
{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{% endmacro %}{{ m(b=2) }}
"""
WHITESPACE = [
    "a\n  {% if yes %}\n  b\n  {% endif %}\nc\n", "a\n  {%+ if yes %}\n  b\n  {% endif +%}\nc", "x {%- if yes -%}  y  {%- endif -%}  z\n\n",
    "{% if yes %}\n\n{% endif %}\n\n", "  {{ n }}\n  {{- n }}  \n{{ n -}}  \n w\n", "\r\na\r\n{% if yes %}\r\nb\r{% endif %}\r\nc\r\n", "{# c #}\n  {# d #}\n  x {# e #}\ny",
    "{#+ c +#}\n x", "  {%- set a = 1 %}\n  {{ a }}\n", "{% for i in list %}\n  {{ i }}\n{% endfor %}\nend", "\t{% if yes %}\t\n x{% endif %}", "a {% if yes %}b{% endif %} c\n\n",
    "{{ '}}' }}{{ '%}' }}{{ {'a': {'b': 1}}['a'] }}", "{% set x = {'a': '%}'} %}{{ x }}", "{{n}}{{-n-}} {{ n }}", "{%if yes%}x{%endif%}", "text only", "", "\n", "\n\n", "{ { } } {n} {", "{% if yes %}{% if yes %}\n  \n{% endif %}\n{% endif %}\nx",
    "  {% raw %}\n {{ x }}\n{% endraw %}\n y", "{%- for x in [1,2] -%}\n {{ x }} \n{%- endfor -%}\n", "a\u00a0\n\u3000{%- if yes %} b{% endif %}", "{{ 'multi\nline' }}\n", "{% if yes -%}\n\n  x\n\n{%- endif %}\n y", "   {# x -#}   y", "a\n   {#- x #}\n y",
]
BAD_SYNTAX = [
    "{{ }}", "{{ 1 +", "{% if %}x{% endif %}", "{% if x %}", "{% endif %}", "{% for %}{% endfor %}", "{% for x of y %}{% endfor %}", "{{ (1 }}", "{{ 1) }}", "{{ 'a }}", "{% unknown %}", "{# no end", "{% raw %} no end",
    "{{ a.  }}", "{{ a[ }}", "{{ f(a=1, 2) }}", "{{ a is }}", "{{ a | }}", "{% set %}", "{% set x %}", "{% macro %}{% endmacro %}", "{% break %}", "{{ a ? b }}", "{{ 1 if }}", "{% if x %}{% else %}{% else %}{% endif %}", "{% for x in y %}{% endif %}", "{{ a is b is c }}",
    "{{ {1 2} }}", "{{ [1 2] }}", "{{ a b }}", "{% block x %}", "{{ ! }}", "{{ .5 }}", "{{ x is defined if x else 1 }}",
]


def main():
    env = environment()
    out = {"now": [NOW.year, NOW.month, NOW.day, NOW.hour, NOW.minute, NOW.second, NOW.weekday(), NOW.timetuple().tm_yday],
           "conversations": [], "data": DATA, "language": [], "bad_syntax": []}
    families = sorted(p.stem for p in (HERE / "templates").glob("*.jinja"))
    for name, variables in conversations().items():
        entry = {"name": name, "variables": variables, "expected": {}}
        given = {"tools": None, "documents": None, "add_generation_prompt": True, "bos_token": "<BOS>", "eos_token": "<EOS>"}
        for family in families:
            source = (HERE / "templates" / f"{family}.jinja").read_text()
            entry["expected"][family] = render(env, source, {**given, **variables})
        out["conversations"].append(entry)
    sources = LANGUAGE.strip("\n").replace("'a\\\nb'", "'a\\\0b'").split("\n")
    for source in [s.replace("\0", "\n") for s in sources] + WHITESPACE:
        out["language"].append({"source": source, "expected": render(env, source, DATA)})
    for source in BAD_SYNTAX:
        try:
            env.from_string(source)
            print("no error from jinja2:", source)
        except (jinja2.TemplateError, SyntaxError):
            out["bad_syntax"].append(source)
    text = json.dumps(out, ensure_ascii=True, indent=1)
    (HERE / "templates-expected.json").write_text(text + "\n")
    print({k: len(v) for k, v in out.items()})
    for entry in out["language"]:
        if "text" not in entry["expected"]:
            print(entry["source"][:60], "->", entry["expected"])


main()
