#!/usr/bin/env python3
"""Uses a running server through the official `anthropic` client: messages, streams, counted tokens and typed errors.

Exit code 0 when everything holds; otherwise 1 and one line that says what did not.
Usage: anthropic_client.py --base-url http://127.0.0.1:8000 --model NAME [--api-key KEY]
"""
import argparse
import sys

import anthropic

MESSAGES = [{"role": "user", "content": "Name three colours."}]
MAX_TOKENS = 12


def check(condition, message):
    if not condition:
        print(f"anthropic client: {message}", file=sys.stderr)
        sys.exit(1)


def expect(error_type, call):
    try:
        call()
    except anthropic.APIError as error:
        check(type(error) is error_type, f"expected {error_type.__name__}, got {type(error).__name__}: {error}")
        return error
    check(False, f"expected {error_type.__name__}, got an answer")


def check_messages(client, model):
    settings = dict(model=model, max_tokens=MAX_TOKENS, messages=MESSAGES, system="Be brief.", extra_body={"temperature": 0})
    whole = client.messages.create(**settings)
    check(whole.role == "assistant" and whole.type == "message", f"the answer is {whole}")
    check(whole.stop_reason in ("end_turn", "max_tokens"), f"stop_reason {whole.stop_reason}")
    check(0 < whole.usage.output_tokens <= MAX_TOKENS, f"usage {whole.usage}")
    text = whole.content[0].text
    counted = client.messages.count_tokens(model=model, messages=MESSAGES, system="Be brief.").input_tokens
    usage = whole.usage
    check(counted == usage.input_tokens + usage.cache_read_input_tokens, f"counted {counted}, usage {usage}")

    with client.messages.stream(**settings) as stream:
        streamed = "".join(stream.text_stream)
        final = stream.get_final_message()
    check(streamed == text, f"streamed {streamed!r}, whole {text!r}")
    check(final.content[0].text == text and final.stop_reason == whole.stop_reason, f"the end of the stream is {final}")
    check(final.usage.output_tokens == usage.output_tokens, f"usage of the stream {final.usage}, whole {usage}")

    if len(text) > 4:
        stopped = client.messages.create(**settings, stop_sequences=[text[2:4]])
        check(stopped.stop_reason == "stop_sequence" and stopped.stop_sequence == text[2:4], f"stopped: {stopped}")
    begun = [*MESSAGES, {"role": "assistant", "content": "Red, green and"}]
    continued = client.messages.create(**{**settings, "messages": begun})
    check(continued.content[0].text, "an answer that was begun is not continued")


def check_tools(client, model):
    """A forced call is of its schema, the same streamed, and can be answered."""
    tools = [{"name": "weather", "description": "The weather of a city.", "input_schema": {
        "type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"]}}]
    settings = dict(model=model, max_tokens=200, messages=MESSAGES, tools=tools, tool_choice={"type": "any"},
                    extra_body={"temperature": 0})
    whole = client.messages.create(**settings)
    check(whole.stop_reason == "tool_use", f"stop_reason {whole.stop_reason}")
    for block in whole.content:
        check(block.type == "tool_use" and block.name == "weather" and set(block.input) == {"city"}, f"a block: {block}")
    with client.messages.stream(**settings) as stream:
        final = stream.get_final_message()
    check([block.input for block in final.content] == [block.input for block in whole.content], f"streamed: {final}")
    results = [{"type": "tool_result", "tool_use_id": block.id, "content": "12 degrees"} for block in whole.content]
    told = client.messages.create(**{**settings, "tool_choice": {"type": "none"}, "max_tokens": 20, "messages": [
        *MESSAGES, {"role": "assistant", "content": whole.content}, {"role": "user", "content": results}]})
    check(told.content[0].type == "text", f"after the call: {told}")


def check_errors(client, model, has_key):
    if has_key:
        expect(anthropic.AuthenticationError, lambda: client.with_options(api_key="wrong").messages.create(
            model=model, max_tokens=1, messages=MESSAGES))
    expect(anthropic.NotFoundError,
           lambda: client.messages.create(model="no-such-model", max_tokens=1, messages=MESSAGES))
    error = expect(anthropic.BadRequestError,
                   lambda: client.messages.create(model=model, max_tokens=1, messages=MESSAGES,
                                                  extra_body={"temperature": -1}))
    check(error.body["error"]["type"] == "invalid_request_error", f"the body of an error is {error.body}")
    expect(anthropic.BadRequestError, lambda: client.messages.create(
        model=model, max_tokens=1, messages=MESSAGES, tools=[{"type": "bash_20250124", "name": "bash"}]))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--api-key", default="", help="empty: the server asks for none")
    arguments = parser.parse_args()
    client = anthropic.Anthropic(base_url=arguments.base_url, api_key=arguments.api_key or "none", max_retries=0,
                                 timeout=120)
    try:
        check_messages(client, arguments.model)
        check_tools(client, arguments.model)
        check_errors(client, arguments.model, bool(arguments.api_key))
    except anthropic.APIError as error:
        check(False, f"unexpected {type(error).__name__}: {error}")
    print("anthropic client: messages, streams, tools, counted tokens and errors hold")


if __name__ == "__main__":
    main()
