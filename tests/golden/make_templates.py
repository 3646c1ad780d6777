#!/usr/bin/env python3
# Makes templates-expected.json: what Python's jinja2 (3.1.6 when the file was made), set up as transformers does, renders from
# templates/*.jinja over twenty-six conversations, and from small templates that walk through the language.
# Usage: make_templates.py (needs: pip install jinja2)
import json
import pathlib
import warnings

import jinja2

from jinja_oracle import NOW_FIELDS, environment, render

HERE = pathlib.Path(__file__).resolve().parent

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
        "a system message in the middle": {"messages": [hello, message("assistant", "Hi."), message("system", "Be formal from now on."), message("user", "Go on.")]},
        "white space around": {"messages": [message("system", "\n\t sys \u00a0"), message("user", "  two  \n"), message("assistant", "\n\n an answer \t"), message("user", "\r\n x")]},
        "line breaks": {"messages": [message("user", "a\n\n\nb\r\nc\rd\u2028e\x0b\x0cf\n"), message("assistant", "\n\n1\n\n2\n\n"), message("user", "\n")]},
        "quotes and JSON": {"messages": [message("user", 'say "it\'s" \\n \\u00e9 {"a": [1, "\\\\"]} </s> &amp; <b> `${x}` %s {} {0}')]},
        "a long conversation": {"messages": [system] + [message("assistant" if i % 2 else "user", f"{i}. " + "word " * 12) for i in range(11)]},
        "reasoning": {"messages": [hello, message("assistant", "It is 4.", reasoning_content="\n2 + 2 is 4.\n"), message("user", "Sure?"),
                                   message("assistant", "<think>\nhm\n</think>\n\nYes.")], "add_generation_prompt": False},
        "thinking is off": {"messages": [system, message("user", "Quick: 2 + 2?")], "enable_thinking": False, "reasoning_effort": "low", "thinking": True},
        "an answer to be continued": {"messages": [hello, message("assistant", "I am a mod")], "add_generation_prompt": False},
        "reasoning before a tool call": {"messages": [hello, message("assistant", None, reasoning_content="I look it up.", tool_calls=[asked]), result,
                                                      message("assistant", "Warm."), message("user", "And the time?")], "tools": [WEATHER, CLOCK]},
        "documents": {"messages": [message("user", "What do they say?")], "controls": {"citations": True, "length": "short"}, "documents": [
            {"title": "Bees", "text": "Bees <fly> & hum.", "year": 2021}, {"text": "Ants walk.\n\nThey do.", "source": None}]},
        "no content key": {"messages": [hello, {"role": "assistant", "tool_calls": [asked]}, result]},
    }


# The language itself: every line is a template; DATA are its variables.
DATA = {"s": "Hello, Wörld ß ŉ ΑΣ ΑΣΑ", "empty": "", "special": ["inf", " nan "], "n": 7, "neg": -7, "f": 2.5, "yes": True, "no": False, "nothing": None,
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
{{ -0.0 }} {{ -0.0 ** 2 }} {{ -4.0 % 2 }} {{ -1.0 // 2 }} {{ 1e-400 }} {{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 0x_ff }} {{ 00 }} {{ -true }} {{ "1_0"|int }} {{ "0x1f"|int(0, 16) }} {{ "z"|int(base=36) }} {{ special[0]|float }} {{ special[1]|float }} {{ special[0]|int(3) }} {{ 1234|round(-2) }} {{ 25|round(-1) }} {{ true|round }} {{ 0.1 + 0.2 }}
{{ range(3) }} {{ range(5, 0, -2) }} {{ range(10)[2:5] }} {{ range(3)[1] }} {{ range(3) == range(3) }} {{ dict.keys() }} {{ dict.values() }} {{ dict.items() }} {{ dict.items()[0] }}| {{ dict.items() is sequence }} {{ dict.keys()|first }} {{ namespace(a=1, b="x") }} {{ (words|map("upper"))[0] }}| {{ dict.copy() == dict }} {{ list.copy() }}
{{ ("<b>"|safe) + "<" }} {{ "<" + ("<b>"|safe) }} {{ ("<b>"|safe) ~ "<" }} {{ ["<"|e] }} {{ ("a"|safe)|upper + "<" }} {{ ("a"|safe).replace("a", "<") }} {{ ("a"|safe)|replace("a", "<") + "<" }} {{ ("a<b"|safe).split("<") }} {{ (","|safe).join(["<", "a"]) }} {{ ("%s"|safe) % "<" }} {{ ("{}"|safe).format("<") }} {{ ("a"|e)[0] + "<" }} {{ "<"|e|e }} {{ "<"|e|forceescape }} {{ "<"|e is escaped }} {{ ("a"|safe) * 2 + "<" }} {{ 1|e + "<" }} {{ ("a"|safe)|indent + "<" }} {{ ("a"|safe)|title + "<" }} {{ dict|tojson|safe }}
{{ "%s and %r, %d%%, %5.1f|%-6s|%06.2f|%x|%+d|%c|%e|%g" % ("a", "b", 3.7, 2, "l", 3.14159, 255, 5, 65, 12345.678, 0.0001) }} {{ "%(a)s %(b)05d" % {"a": 1, "b": 2} }} {{ "%s" % [1] }} {{ "a" % [] }} {{ "%s %s"|format("x", none) }} {{ "%(k)s"|format(k=1) }} {{ "%.3s|%*d" % ("abcdef", 4, 7) }}
{{ "{} {}".format(1, "b") }} {{ "{1}{0}{1}".format("a", "b") }} {{ "{x} {y.a.b[0]}".format(x=1, y=dict) }} {{ "{:>6}|{:<6}|{:^6}|{:*^7}|{:05d}|{:.2f}|{:+}|{:,}|{:x}|{:%}".format("r", "l", "c", "m", 42, 3.14159, 5, 1234567, 255, 0.25) }} {{ "{!r} {{}} {:{}}".format("q", "w", 5) }} {{ "{:.3}|{:g}|{:e}|{}".format(3.14159, 1e10, 1234.5, 2.0) }}
{{ s.find("l", 3) }} {{ s.find("l", 4, 6) }} {{ s.rfind("l", 0, 3) }} {{ s.count("l", 3) }} {{ s.startswith("ello", 1) }} {{ s.endswith("o", 0, 5) }} {{ "a\nb\r\n".splitlines(true) }} {{ "a b c".rsplit(none, 1) }} {{ "a b c".rsplit() }} {{ "a=b=c".rpartition("=") }} {{ "abc".partition("=") }} {{ "it's a dog".title() }} {{ "it's a dog"|title }} {{ "ßa ǆx".title() }} {{ "ﬁn".capitalize() }} {{ "aBc".swapcase() }} {{ "-7".zfill(4) }} {{ "ab".center(5, "*") }} {{ "ab".ljust(4, ".") }} {{ "ab".rjust(4) }} {{ "a\tb".expandtabs(4) }} {{ "½²5".isdigit() }} {{ "5²".isdigit() }} {{ "½".isnumeric() }} {{ "a_1".isidentifier() }} {{ "Ab Cd".istitle() }} {{ "é".isascii() }} {{ "x".rindex("x") }} {{ "xyz".casefold() }}
{{ [3, 1, 2, 5]|batch(2)|list }} {{ [1, 2, 3]|batch(2, "-")|list }} {{ [1, 2, 3, 4, 5]|slice(3)|list }} {{ [1, 2]|slice(3, 0)|list }} {{ people|groupby("age") }} {{ "ab"|center(6) }}| {{ "one two three"|truncate(9) }} {{ "one two three four"|truncate(9, true) }} {{ "one two three four"|truncate(9, false, "..") }} {{ "a-b c_d é"|wordcount }} {{ "a b/ü?&"|urlencode }} {{ {"a": 1, "b c": "d"}|urlencode }} {{ people|sort(attribute="age,name")|map(attribute="name")|list }} {{ [[2, "b"], [2, "a"]]|sort(attribute="0,1") }} {{ [0.5, 1]|unique|list }} {{ none|map("upper")|list }} {{ 0|select|list }} {{ [3, 1]|min(attribute=none) }} {{ people|map(attribute="tags.0", default="-")|list }}
{{ {(1, 2): 3}[(1, 2)] }} {{ {1: "a", true: "b"} }} {{ {missing: 1} }} {{ missing in dict }} {{ range(*[1, 4])|list }} {{ "{}-{}".format(*[1, 2]) }} {{ "upper" is filter }} {{ "nope" is filter }} {{ "odd" is test }} {{ missing is callable }} {{ "abc"|last }} {{ (1, 2, 3)|last }} {{ "%s"|first }}
{% set up = words|map("upper") %}{{ up|join }}|{{ up|join }}|{% set odd = list|select("odd") %}{{ odd|first }}{{ odd|first }}{{ odd|first }}|{% for x in list %}{{ loop.changed(x > 1) }}{% endfor %}{% for a, (b, c) in [[1, [2, 3]]] %}{{ a }}{{ b }}{{ c }}{% endfor %}{% set a, (b, c) = 1, (2, 3) %}{{ c }}{% for (x,) in [[1]] %}{{ x }}{% endfor %}{{ loop is defined }}
{% for x in list %}{% macro inner() %}{{ x }}{{ loop.index }}{% endmacro %}{{ inner() }};{% endfor %}{% for x in list %}{% with y = x %}{% if y == 1 %}{% break %}{% endif %}{{ y }}{% endwith %}{% endfor %}{% set v = 1 %}{% generation %}{% set v = 2 %}{{ v }}{% endgeneration %}{{ v }}
{{ list.append }}|{{ dict.pop is defined }}|{{ {"pop": 1, "x": 2}.pop }}|{{ {"pop": 1}["pop"] }}|{{ {"copy": 1}.get("copy") }}|{{ strftime_now("%f|%z|%Z|%%f") }}
{{ 5|e }}{{ none|safe }}{{ "x"|default("d", boolean=true) }}{{ "%c" % "é" }}{{ [1, 2]|string|length }}{{ true|string }}{{ (1, "a")|join("-") }}{{ "b" > "a" }}{{ [1] < [1, 2] }}{{ (1, 2) > (1,) }}{{ 1 <= 1.0 }}{{ -7 // 2.0 }}{{ 7 % -3.0 }}
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
{{ n[1:] }}
{{ nothing[:1] }}
{{ dict[:1] }}
{{ missing|int }}
{{ missing|float }}
{{ n|indent }}
{{ missing|indent }}
{{ words|map("upper")|last }}
{{ words|map("upper")|length }}
{{ words|map("upper")|tojson }}
{{ range(3)|tojson }}
{{ dict.items()|tojson }}
{{ list|select + list|select }}
{{ range(3) + [1] }}
{{ {list: 1} }}
{{ [list]|unique|list }}
{{ 0 ** -1 }}
{{ 10.0 ** 400 }}
{{ "x"|upper(1) }}
{{ s.upper(1) }}
{{ s.replace(old="a", new="b") }}
{{ s.split(nope=1) }}
{{ "a"|trim(chars="a", extra=1) }}
{{ dict.get() }}
{{ n is divisibleby }}
{{ n is defined(1) }}
{{ ["a"]|sum(start="") }}
{{ "%d" % "a" }}
{{ "%s %s" % "a" }}
{{ "a" % 1 }}
{{ "%(a)s" % [1] }}
{{ "%q" % 1 }}
{{ "{} {}".format(1) }}
{{ "{".format(1) }}
{{ "{0} {}".format(1, 2) }}
{{ "{:d}".format("a") }}
{{ "{x}".format(y=1) }}
{{ dict|dictsort(by="nope") }}
{{ people|groupby }}
{{ "abc"|truncate(1) }}
{{ list|batch }}
{{ list|slice(0)|list }}
{{ dict.update({}) }}
{{ list.sort() }}
{{ range(**dict) }}
{{ raise_exception("a", "b") }}
{{ "a".center(5, "ab") }}
{{ "a".join([1]) }}
{{ missing[1:] }}
{% for a, (b, c) in [[1, [2]]] %}{% endfor %}
{% macro m(a) %}{% endmacro %}{{ m(1, a=2) }}
{% macro m(a) %}{% endmacro %}{{ m(a=1, **{"a": 2}) }}
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
    "{{ 007 }}", "{{ 0x }}", "{{ 1__0 }}", "{% set true = 1 %}", "{% for none in x %}{% endfor %}", "{{ f(*a, b) }}", "{{ f(**a, *b) }}", "{% for x in y %}{% generation %}{% break %}{% endgeneration %}{% endfor %}",
    "{% for a.b in c %}{% endfor %}", "{% set a, (b = 1 %}",
]


def main():
    env = environment()
    warnings.simplefilter("ignore")  # Python's compiler about templates such as {{ 5() }}
    out = {"now": NOW_FIELDS,
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
