// Chat templates of strangers, over a conversation with tools; and, where an input has a line "--", over the messages
// behind it.
#include <boost/json.hpp>

#include "engine/text/chat_template.h"
#include "kernels/base/error.h"
#include "tests/engine/weights/file_builder.h"
#include "tests/fuzzing/target.h"

namespace echelon::fuzzing {
namespace {

ChatInput conversation() {
  ChatInput input;
  input.messages = boost::json::parse(
      R"([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 < 3?\nYes"}, {"role": "assistant", )"
      R"("content": null, "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": {"x": 1.5}}}]}, )"
      R"({"role": "tool", "content": "[1, 2]", "tool_call_id": "a"}, {"role": "user", "content": [{"type": "text", "text": "é"}]}])");
  input.tools = boost::json::parse(
      R"([{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}}])");
  input.bos_token = "<s>";
  input.eos_token = "</s>";
  input.now = std::tm{.tm_sec = 6, .tm_min = 5, .tm_hour = 4, .tm_mday = 3, .tm_mon = 1, .tm_year = 124};
  return input;
}

void run(std::string_view input) {
  static const ChatInput usual = conversation();
  Pieces pieces(input);
  const std::string_view source = pieces.until("\n--\n");
  try {
    const ChatTemplate parsed = ChatTemplate::parse(source);
    parsed.mentions("tools");
    ChatInput chat = usual;
    boost::system::error_code fault;
    if (!pieces.empty()) {
      boost::json::value messages = boost::json::parse(pieces.rest(), fault);
      if (!fault) chat.messages = std::move(messages);
    }
    const auto text = parsed.render(chat);
    if (text.has_value()) expect(*parsed.render(chat) == *text, "a template that renders twice in two ways");
  } catch (const Error&) {
  }
}

std::vector<std::string> seeds() {
  std::vector<std::string> all = {
      "{% for m in messages %}<|{{ m.role }}|>{{ m['content'] | trim }}{{ eos_token }}{% endfor %}\n--\n"
      R"([{"role": "user", "content": " hi "}])",
      "{%- set ns = namespace(n=0) -%}{%- for m in messages if m.content is string -%}{%- set ns.n = ns.n + "
      "loop.index0 "
      "-%}{%- endfor -%}{{ ns.n ~ '%05.1f' % 2.5 }}",
      "{% macro f(a, b=[1, 2]) %}{{ a|tojson(indent=2) }}{{ b|join(', ') }}{% endmacro %}{{ f(tools[0], (1, 2)) }}",
      "{{ messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|list|length }}{{ "
      "'a-b'.split('-')[::-1] }}",
      "{% if not (messages|length > 3 and 'x' in 'xyz') %}{{ raise_exception('no ' + messages[0].role|upper) }}{% elif "
      "1 "
      "%}{{ strftime_now('%d %b %Y') }}{% else %}{% endif %}",
      "{{ {'a': 1, 'b': [none, true, 1e3, -7 // 2, 2 ** 10]}.items()|list }}{{ '{:>8}|{!r:^6}'.format('x', 'y') }}",
      "{% for k, v in {'x': 1}|dictsort recursive %}{{ loop.cycle('a', 'b') }}{{ loop.changed(k) }}{% else %}{% endfor "
      "%}{% "
      "filter replace('a', 'b') %}abc{% endfilter %}{# #}{% raw %}{{{% endraw %}",
      "{{ messages|groupby('role')|first }}{{ 'Ab c'|title|center(12)|wordwrap(3)|indent(2, true)|e|safe|urlencode "
      "}}{% generation "
      "%}{% endgeneration %}"};
  for (const char* name : {"chatml", "gemma", "alpaca"})
    all.push_back(testing::read_all(std::string(ECHELON_SOURCE_DIR) + "/tests/golden/templates/" + name + ".jinja"));
  return all;
}

const Target target("chat_template", run, seeds,
                    {"{%",
                     "%}",
                     "{{",
                     "}}",
                     "{#",
                     "#}",
                     "{%-",
                     "-%}",
                     "\n--\n",
                     "for ",
                     " in ",
                     "endfor",
                     "if ",
                     "elif",
                     "else",
                     "endif",
                     "set ",
                     "endset",
                     "macro ",
                     "endmacro",
                     "call ",
                     "endcall",
                     "filter ",
                     "namespace(",
                     "loop.index",
                     "loop.previtem",
                     "loop.cycle(",
                     "range(",
                     "dict(",
                     "raise_exception(",
                     "strftime_now(",
                     "|tojson",
                     "|join",
                     "|map(attribute=",
                     "|selectattr(",
                     "|rejectattr(",
                     "|sort(",
                     "|unique",
                     "|batch(",
                     "|slice(",
                     "|groupby(",
                     "|round(",
                     "|format(",
                     "|replace(",
                     "|int(",
                     "|float",
                     "|indent(",
                     "|wordwrap(",
                     "|truncate(",
                     "|urlize",
                     "|striptags",
                     "|default(",
                     "|items",
                     " is defined",
                     " is string",
                     " is mapping",
                     " is divisibleby ",
                     " not in ",
                     ".format(",
                     ".split(",
                     ".startswith(",
                     ".replace(",
                     ".join(",
                     ".items()",
                     ".get(",
                     ".strip(",
                     ".zfill(",
                     ".expandtabs(",
                     ".translate(",
                     "%s",
                     "%-10.3f",
                     "{:>10,}",
                     "{0[a]!r}",
                     "[::-1]",
                     "[-1:]",
                     "**",
                     "//",
                     "messages",
                     "tools",
                     "none",
                     "true",
                     "1e308",
                     "9223372036854775807",
                     "recursive",
                     "loop(",
                     "caller()",
                     "break",
                     "continue"});

}  // namespace
}  // namespace echelon::fuzzing
