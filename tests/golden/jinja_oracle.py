"""Python's jinja2 set up as transformers does it, and what it says to a template. For make_templates.py and fuzz_templates.py."""
import copy
import datetime
import json

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = datetime.datetime(2025, 3, 7, 9, 5, 2)
NOW_FIELDS = [NOW.year, NOW.month, NOW.day, NOW.hour, NOW.minute, NOW.second, NOW.weekday(), NOW.timetuple().tm_yday]


class Raised(Exception):
    pass


class Generation(jinja2.ext.Extension):
    """{% generation %}...{% endgeneration %}: marks the assistant's text for training; here it only renders its body. A call block, as in
    transformers: what is set inside stays inside, and a break cannot leave it."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_generation"), [], [], body).set_lineno(line)

    @staticmethod
    def _generation(caller):
        return caller()


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
        return {"text": env.from_string(source).render(**copy.deepcopy(variables))}  # the filter indent adds to lists in place
    except Raised as error:
        return {"raised": str(error)}
    except (jinja2.TemplateError, ArithmeticError, AssertionError, AttributeError, LookupError, NameError, SyntaxError, TypeError, ValueError) as error:
        return {"error": str(error)}
