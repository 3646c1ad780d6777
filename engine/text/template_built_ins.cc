// The built-in templates, written here for the published chat formats; they are for models that carry none, or a wrong
// one. Each is also a file in tests/golden/templates, where jinja2 says what it renders.
#include "engine/text/template_built_ins.h"

namespace echelon::templates {

namespace {

constexpr BuiltIn kBuiltIns[] = {
    {"alpaca", R"jinja({{- bos_token -}}
{%- set ns = namespace(system='Below is an instruction that describes a task. Write a response that appropriately completes the request.') -%}
{%- for message in messages if message['role'] == 'system' -%}
  {%- set ns.system = message['content'] | trim -%}
{%- endfor -%}
{{- ns.system + '\n\n' -}}
{%- for message in messages | rejectattr('role', 'equalto', 'system') -%}
  {%- if message['role'] == 'user' -%}
    {{- '### Instruction:\n' + message['content'] | trim + '\n\n' -}}
  {%- elif message['role'] == 'assistant' -%}
    {{- '### Response:\n' + message['content'] | trim + eos_token + '\n\n' -}}
  {%- else -%}
    {{- raise_exception('Only system, user and assistant roles are supported') -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '### Response:\n' -}}{%- endif -%}
)jinja"},
    {"chatml", R"jinja({%- for message in messages -%}
{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}
)jinja"},
    {"gemma", R"jinja({{- bos_token -}}
{%- set ns = namespace(system='') -%}
{%- for message in messages -%}
  {%- if message['role'] == 'system' -%}
    {%- if not loop.first -%}{{ raise_exception('A system message must come first') }}{%- endif -%}
    {%- set ns.system = message['content'] | trim + '\n\n' -%}
  {%- else -%}
    {{- '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n' -}}
    {{- ns.system + message['content'] | trim + '<end_of_turn>\n' -}}
    {%- set ns.system = '' -%}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}
)jinja"},
    {"llama2", R"jinja({%- set system = '' -%}
{%- set turns = messages -%}
{%- if messages and messages[0]['role'] == 'system' -%}
  {%- set system = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' -%}
  {%- set turns = messages[1:] -%}
{%- endif -%}
{%- for message in turns -%}
  {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
    {{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') -}}
  {%- endif -%}
  {%- set content = system + message['content'] if loop.first else message['content'] -%}
  {%- if message['role'] == 'user' -%}
    {{- bos_token + '[INST] ' + content | trim + ' [/INST]' -}}
  {%- else -%}
    {{- ' ' + content | trim + ' ' + eos_token -}}
  {%- endif -%}
{%- endfor -%}
)jinja"},
    {"llama3", R"jinja({{- bos_token -}}
{%- for message in messages -%}
{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif -%}
)jinja"},
    {"mistral", R"jinja({{- bos_token -}}
{%- set system = '' -%}
{%- set turns = messages -%}
{%- if messages and messages[0]['role'] == 'system' -%}
  {%- set system = messages[0]['content'] | trim + '\n\n' -%}
  {%- set turns = messages[1:] -%}
{%- endif -%}
{%- for message in turns -%}
  {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
    {{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') -}}
  {%- endif -%}
  {%- if message['role'] == 'user' -%}
    {{- ' [INST] ' + (system if loop.first else '') + message['content'] + ' [/INST]' -}}
  {%- elif message['role'] == 'assistant' -%}
    {{- ' ' + message['content'] | trim + eos_token -}}
  {%- else -%}
    {{- raise_exception('Only user and assistant roles are supported, with the exception of an initial optional system message!') -}}
  {%- endif -%}
{%- endfor -%}
)jinja"},
    {"phi3", R"jinja({%- for message in messages -%}
  {%- if message['role'] in ('system', 'user', 'assistant') -%}
    {{- '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>\n' -}}{%- else -%}{{- eos_token -}}{%- endif -%}
)jinja"},
    {"vicuna", R"jinja({{- bos_token -}}
{%- if messages and messages[0]['role'] == 'system' -%}
  {%- set system = messages[0]['content'] | trim -%}
  {%- set turns = messages[1:] -%}
{%- else -%}
  {%- set system = "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions." -%}
  {%- set turns = messages -%}
{%- endif -%}
{{- system -}}
{%- for message in turns -%}
  {%- if message['role'] == 'user' -%}
    {{- ' USER: ' + message['content'] | trim -}}
  {%- elif message['role'] == 'assistant' -%}
    {{- ' ASSISTANT: ' + message['content'] | trim + eos_token -}}
  {%- else -%}
    {{- raise_exception('Only user and assistant roles are supported after the system message') -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- ' ASSISTANT:' -}}{%- endif -%}
)jinja"},
    {"zephyr", R"jinja({% for message in messages %}
{% if message['role'] in ['system', 'user'] %}
{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\n' + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}
)jinja"},
};

}  // namespace

std::span<const BuiltIn> built_ins() { return kBuiltIns; }

}  // namespace echelon::templates
