#!/usr/bin/env python3
"""Uses a running server through LiteLLM's `openai/` provider: completions, chats and responses, whole, streamed and concurrent, and errors
as its types; and through its `anthropic/`.

Exit code 0 when everything holds; otherwise 1 and one line that says what did not.
Usage: litellm_client.py --base-url http://127.0.0.1:8000/v1 --model NAME [--api-key KEY]
"""
import argparse
import asyncio
import json
import os
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # fetch no price list

import litellm

MESSAGES = [{"role": "user", "content": "Name three colours."}]
MAX_TOKENS = 12


def check(condition, message):
    if not condition:
        print(f"litellm client: {message}", file=sys.stderr)
        sys.exit(1)


def expect(error_type, call):
    try:
        call()
    except Exception as error:  # its errors have no base class of their own
        check(type(error) is error_type, f"expected {error_type.__name__}, got {type(error).__name__}: {error}")
        return error
    check(False, f"expected {error_type.__name__}, got an answer")


def check_chats(settings):
    whole = litellm.completion(**settings, messages=MESSAGES, stop=["\n\n\n"])
    text = whole.choices[0].message.content
    check(text and whole.choices[0].finish_reason in ("stop", "length"), f"the answer is {whole}")
    check(0 < whole.usage.completion_tokens <= MAX_TOKENS, f"usage {whole.usage}")

    chunks = list(litellm.completion(**settings, messages=MESSAGES, stream=True, stream_options={"include_usage": True}))
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    check(streamed == text, f"streamed {streamed!r}, whole {text!r}")
    rebuilt = litellm.stream_chunk_builder(chunks, messages=MESSAGES)
    check(rebuilt.choices[0].message.content == text, f"put together: {rebuilt}")
    check(rebuilt.usage.completion_tokens == whole.usage.completion_tokens, f"usage {rebuilt.usage} and {whole.usage}")

    schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"],
              "additionalProperties": False}
    asked = {"type": "json_schema", "json_schema": {"name": "colour", "schema": schema, "strict": True}}
    formed = litellm.completion(**{**settings, "max_tokens": 40}, messages=MESSAGES, response_format=asked)
    check(json.loads(formed.choices[0].message.content)["colour"] in ("red", "blue"), f"structured: {formed}")
    logprobs = litellm.completion(**settings, messages=MESSAGES, logprobs=True, top_logprobs=2).choices[0].logprobs
    check(len(logprobs.content[0].top_logprobs) == 2, f"log-probabilities {logprobs}")
    return text


async def check_concurrent(settings, text):
    several = await asyncio.gather(*(litellm.acompletion(**settings, messages=MESSAGES) for _ in range(4)))
    check({answer.choices[0].message.content for answer in several} == {text}, "concurrent answers differ")
    streamed = ""
    async for chunk in await litellm.acompletion(**settings, messages=MESSAGES, stream=True):
        streamed += chunk.choices[0].delta.content or ""
    check(streamed == text, f"streamed {streamed!r}, whole {text!r}")


def check_text_completions(settings):
    settings = {**settings, "model": settings["model"].replace("openai/", "text-completion-openai/")}
    whole = litellm.text_completion(**settings, prompt="The sky is")
    text = whole.choices[0].text
    check(text and whole.usage.prompt_tokens > 0, f"the completion is {whole}")
    streamed = "".join(chunk.choices[0].text or "" for chunk in litellm.text_completion(**settings, prompt="The sky is", stream=True))
    check(streamed == text, f"streamed {streamed!r}, whole {text!r}")
    several = litellm.text_completion(**settings, prompt=["The sky is", "Grass is"])
    check(len(several.choices) == 2 and several.choices[0].text == text, f"two prompts: {several}")


def check_other_endpoints(settings, text):
    """/v1/responses and, through LiteLLM's `anthropic/`, /v1/messages say what the chat said."""
    common = dict(temperature=0, api_key=settings["api_key"], timeout=settings["timeout"])
    response = litellm.responses(model=settings["model"], input=MESSAGES, max_output_tokens=MAX_TOKENS,
                                 api_base=settings["api_base"], **common)
    check(response.output[0].content[0].text.startswith(text), f"the response is {response}")  # it asks for 16 tokens at least
    model = settings["model"].replace("openai/", "anthropic/")
    root = settings["api_base"].removesuffix("/v1")
    message = litellm.completion(model=model, messages=MESSAGES, max_tokens=MAX_TOKENS, api_base=root, **common)
    check(message.choices[0].message.content == text, f"the message is {message}")


def check_errors(settings, has_key):
    def ask(**other):
        return lambda: litellm.completion(**{**settings, "messages": MESSAGES, **other})
    if has_key:
        expect(litellm.AuthenticationError, ask(api_key="wrong"))
    expect(litellm.NotFoundError, ask(model="openai/no-such-model"))
    error = expect(litellm.BadRequestError, ask(temperature=-1.0))
    check("temperature" in str(error), f"the parameter at fault is not named: {error}")
    # Callers shorten and try again on this type.
    expect(litellm.ContextWindowExceededError, ask(messages=[{"role": "user", "content": "word " * 5000}]))
    expect(litellm.Timeout, ask(timeout=0.001))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--api-key", default="", help="empty: the server asks for none")
    arguments = parser.parse_args()
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    settings = dict(model=f"openai/{arguments.model}", api_base=arguments.base_url, api_key=arguments.api_key or "none",
                    max_tokens=MAX_TOKENS, temperature=0, seed=7, max_retries=0, timeout=120)
    text = check_chats(settings)
    asyncio.run(check_concurrent(settings, text))
    check_text_completions(settings)
    check_other_endpoints(settings, text)
    check_errors(settings, bool(arguments.api_key))
    print("litellm client: chats, completions, responses, messages, streams, concurrent requests and errors hold")


if __name__ == "__main__":
    main()
