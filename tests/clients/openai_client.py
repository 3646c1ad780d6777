#!/usr/bin/env python3
"""Uses a running server through the official `openai` client: models, chats, responses, completions, embeddings, streams,
structured answers, tools, batches and typed errors.

Exit code 0 when everything holds; otherwise 1 and one line that says what did not.
The server needs --batch-dir. Usage: openai_client.py --base-url http://127.0.0.1:8000/v1 --model NAME [--api-key KEY]
"""
import argparse
import base64
import enum
import json
import math
import re
import struct
import sys
import time
import typing

import openai
import pydantic
from openai.types import responses as events

MESSAGES = [{"role": "user", "content": "Name three colours."}]
MAX_TOKENS = 12


def check(condition, message):
    if not condition:
        print(f"openai client: {message}", file=sys.stderr)
        sys.exit(1)


def expect(error_type, code, call):
    """`call` must raise exactly this type, with this code (None: any)."""
    try:
        call()
    except openai.APIError as error:
        check(type(error) is error_type, f"expected {error_type.__name__}, got {type(error).__name__}: {error}")
        check(code is None or error.code == code, f"expected code {code}, got {error.code}: {error}")
        return error
    check(False, f"expected {error_type.__name__}, got an answer")


def check_models(client, model):
    listed = [entry.id for entry in client.models.list()]
    check(listed == [model], f"the models are {listed}, expected [{model!r}]")
    check(client.models.retrieve(model).id == model, "retrieving the model gives another id")
    expect(openai.NotFoundError, "model_not_found", lambda: client.models.retrieve("no-such-model"))


def check_chat(client, model):
    settings = dict(model=model, messages=MESSAGES, max_tokens=MAX_TOKENS, temperature=0, seed=7)
    whole = client.chat.completions.create(**settings)
    check(whole.choices[0].message.role == "assistant", "the role of an answer is not assistant")
    check(whole.choices[0].finish_reason in ("stop", "length"), f"finish_reason {whole.choices[0].finish_reason}")
    check(0 < whole.usage.completion_tokens <= MAX_TOKENS, f"usage {whole.usage}")

    text, reasons, usage, roles = "", [], None, []
    for chunk in client.chat.completions.create(**settings, stream=True, stream_options={"include_usage": True}):
        if not chunk.choices:
            usage = chunk.usage
            continue
        choice = chunk.choices[0]
        if choice.delta.role:
            roles.append(choice.delta.role)
        text += choice.delta.content or ""
        if choice.finish_reason:
            reasons.append(choice.finish_reason)
    check(roles == ["assistant"], f"the roles of a stream are {roles}")
    check(text == whole.choices[0].message.content, f"streamed {text!r}, whole {whole.choices[0].message.content!r}")
    check(reasons == [whole.choices[0].finish_reason], f"the finish reasons of a stream are {reasons}")
    check(usage == whole.usage or usage.total_tokens == whole.usage.total_tokens, f"usage {usage} and {whole.usage}")

    with_logprobs = client.chat.completions.create(**settings, logprobs=True, top_logprobs=2)
    content = with_logprobs.choices[0].logprobs.content
    check(content and len(content[0].top_logprobs) == 2, "log-probabilities of a chat are missing")
    check("".join(entry.token for entry in content).strip() == text.strip() or "\ufffd" in text,
          "the tokens of the log-probabilities are not the text")


def check_responses(client, model):
    """A response is the chat of the same messages, whole, streamed, and as the client's stream helper collects it."""
    settings = dict(model=model, input=MESSAGES, instructions="Be brief.", max_output_tokens=MAX_TOKENS,
                    extra_body={"seed": 7})
    chat = client.chat.completions.create(model=model, max_tokens=MAX_TOKENS, seed=7,
                                          messages=[{"role": "system", "content": "Be brief."}, *MESSAGES])
    whole = client.responses.create(**settings)
    text = whole.output_text
    said = chat.choices[0].message.content
    check(text == said, f"the response is {text!r}, the chat {said!r}")
    check(text == client.responses.create(**{**settings, "input": MESSAGES[0]["content"]}).output_text,
          "input as a string gives another text")
    usage = whole.usage
    of_chat = chat.usage.prompt_tokens, chat.usage.completion_tokens, chat.usage.total_tokens
    check((usage.input_tokens, usage.output_tokens, usage.total_tokens) == of_chat, f"usage {usage} and {chat.usage}")
    check(whole.status == {"stop": "completed", "length": "incomplete"}[chat.choices[0].finish_reason],
          f"status {whole.status} where the chat ended by {chat.choices[0].finish_reason}")
    item = whole.output[0]
    check(item.id.startswith("msg_") and item.role == "assistant" and len(whole.output) == 1, f"output {whole.output}")
    check(whole.instructions == "Be brief." and whole.max_output_tokens == MAX_TOKENS, "the request is not repeated")
    check(type(whole).model_validate(whole.model_dump(), strict=True) and not whole.store, "not of the client's type")

    check_response_events(list(client.responses.create(**settings, stream=True)), text)
    with client.responses.stream(**{**settings, "max_output_tokens": 500}) as stream:
        deltas = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    check(final.status == "completed" and final.output_text == deltas, f"the stream of {deltas!r} ended with {final}")

    cut = client.responses.create(**{**settings, "max_output_tokens": 1}, top_logprobs=2,
                                  include=["message.output_text.logprobs"])
    check(cut.status == "incomplete" and cut.incomplete_details.reason == "max_output_tokens", f"cut: {cut}")
    logprobs = cut.output[0].content[0].logprobs
    check(len(logprobs) == 1 and len(logprobs[0].top_logprobs) == 2, f"log-probabilities of one token: {logprobs}")
    more = [*MESSAGES, *whole.output, {"role": "user", "content": [{"type": "input_text", "text": "Three more."}]}]
    check(client.responses.create(**{**settings, "input": more}).usage.input_tokens > whole.usage.total_tokens,
          "the conversation that was handed back is not in the prompt")

    error = expect(openai.BadRequestError, "unsupported_parameter",
                   lambda: client.responses.create(**settings, previous_response_id=whole.id))
    check(error.param == "previous_response_id", f"the parameter at fault is {error.param!r}")
    expect(openai.BadRequestError, "unsupported_parameter",
           lambda: client.responses.create(**settings, background=True))
    expect(openai.NotFoundError, "model_not_found",
           lambda: client.responses.create(model="no-such-model", input="a"))


def check_response_events(stream, text):
    """Types, numbers and order of a stream's events, and that their deltas are `text`."""
    check([event.sequence_number for event in stream] == list(range(len(stream))), "the events are not numbered")
    begin = [events.ResponseCreatedEvent, events.ResponseInProgressEvent, events.ResponseOutputItemAddedEvent,
             events.ResponseContentPartAddedEvent]
    end = [events.ResponseTextDoneEvent, events.ResponseContentPartDoneEvent, events.ResponseOutputItemDoneEvent]
    kinds = [type(event) for event in stream]
    deltas = stream[4:-4]
    check(kinds[:4] == begin and kinds[-4:-1] == end, f"the events are {kinds}")
    check(kinds[-1] in (events.ResponseCompletedEvent, events.ResponseIncompleteEvent), f"the end is {kinds[-1]}")
    check(len(deltas) > 1 and all(kind is events.ResponseTextDeltaEvent for kind in kinds[4:-4]), f"deltas: {kinds}")
    joined = "".join(event.delta for event in deltas)
    check(joined == text == stream[-4].text == stream[-1].response.output_text, f"streamed {joined!r}, whole {text!r}")
    check(len({event.item_id for event in stream[3:-2]} | {stream[-2].item.id}) == 1, "the item's id changes")


def check_completion(client, model):
    settings = dict(model=model, prompt="The sky is", max_tokens=MAX_TOKENS, temperature=0, seed=7)
    whole = client.completions.create(**settings)
    pieces = [chunk for chunk in client.completions.create(**settings, stream=True)]
    text = "".join(piece.choices[0].text for piece in pieces)
    check(text == whole.choices[0].text, f"streamed {text!r}, whole {whole.choices[0].text!r}")
    check(len(pieces) > 1, "a stream of one piece is not a stream")
    echoed = client.completions.create(**settings, echo=True, logprobs=1)
    check(echoed.choices[0].text == "The sky is" + text, f"echo gave {echoed.choices[0].text!r}")
    check(echoed.choices[0].logprobs.token_logprobs[0] is None, "the first token of an echo has no log-probability")
    several = client.completions.create(model=model, prompt=["one", "two"], n=2, max_tokens=2)
    check([choice.index for choice in several.choices] == [0, 1, 2, 3], "two prompts by two choices are not four")
    stopped = client.completions.create(**{**settings, "stop": text[1:3]}) if len(text) > 3 else None
    check(stopped is None or text[1:3] not in stopped.choices[0].text, "a stop string is in the answer")


def check_choosing(client, model):
    """Which tokens may come: each list against the answer without it."""
    settings = dict(model=model, prompt="The sky is", max_tokens=MAX_TOKENS, temperature=0, seed=7)

    def with_extra(**extra):
        body = {"return_token_ids": True, **extra}
        return client.completions.create(**settings, extra_body=body).choices[0]

    free = with_extra()
    first, second = free.token_ids[0], free.token_ids[1]
    banned = with_extra(logit_bias={str(first): -100})
    check(first not in banned.token_ids, f"token {first} with a bias of -100 is in {banned.token_ids}")
    forced = with_extra(logit_bias={str(second): 100})
    check(set(forced.token_ids) == {second}, f"token {second} with a bias of 100 gave {forced.token_ids}")
    allowed = with_extra(allowed_token_ids=[first, second])
    check(set(allowed.token_ids) <= {first, second}, f"tokens {first} and {second} were allowed: {allowed.token_ids}")
    words = [word for word in free.text.split() if word.isalpha() and len(word) > 2]
    if words:
        without = with_extra(bad_words=words[:2])
        check(not any(word in without.text for word in words[:2]), f"{words[:2]} are bad words: {without.text!r}")
    cut = client.completions.create(**settings, extra_body={"truncate_prompt_tokens": 2})
    check(cut.usage.prompt_tokens == 2, f"a prompt cut to 2 tokens has {cut.usage.prompt_tokens}")
    asked = client.completions.create(**settings, extra_body={"prompt_logprobs": 1}).choices[0].prompt_logprobs
    check(asked[0] is None and all(len(entry) in (1, 2) for entry in asked[1:]), f"prompt_logprobs are {asked}")
    best = client.completions.create(model=model, prompt="One", n=1, best_of=4, max_tokens=3, temperature=1)
    check(len(best.choices) == 1 and best.usage.completion_tokens > 3, f"best_of 4 gave {best}")


def check_embeddings(client, model):
    """One vector an input, of length 1, the same as floats, as base64, as text, as ids, alone and among others."""
    texts = ["The sky is blue.", "Le ciel est bleu.", "Seven apples"]

    def vectors(texts, **settings):
        answer = client.embeddings.create(model=model, input=texts, **settings)
        check([one.index for one in answer.data] == list(range(len(answer.data))), f"indices of {len(texts)} texts")
        check(answer.object == "list" and answer.model == model, f"an answer of {answer.model}")
        check(answer.usage.prompt_tokens == answer.usage.total_tokens > 0, f"usage {answer.usage}")
        return [one.embedding for one in answer.data]

    def length(vector):
        return math.sqrt(sum(value * value for value in vector))

    def near(vector, other):
        return len(vector) == len(other) and all(abs(a - b) < 1e-6 for a, b in zip(vector, other))

    whole = vectors(texts)  # the client asks for base64, and decodes it
    check(len(whole) == 3 and all(abs(length(vector) - 1) < 1e-5 for vector in whole), "vectors are not of length 1")
    check(whole[0] != whole[1] != whole[2], "different texts have the same vector")
    check(vectors(texts, encoding_format="float") == whole, "floats are not what base64 says")
    packed = client.embeddings.create(model=model, input=texts[0], encoding_format="base64").data[0].embedding
    check(struct.unpack(f"<{len(whole[0])}f", base64.b64decode(packed, validate=True)) == tuple(whole[0]),
          "base64 is not of little-endian float32")
    check([vectors(text)[0] for text in texts] == whole, "alone, a text has another vector than among others")
    root = str(client.base_url).removesuffix("v1/")
    ids = [client.post(root + "tokenize", cast_to=object, body={"prompt": text})["tokens"] for text in texts]
    check(vectors(ids) == whole and vectors(ids[0]) == whole[:1], "as token ids, a text has another vector")
    raw = vectors(texts[0], extra_body={"normalize": False})[0]
    check(near([value / length(raw) for value in raw], whole[0]), "normalised, it is not the raw vector")
    cut = vectors(texts[0], dimensions=16)[0]
    check(len(cut) == 16 and abs(length(cut) - 1) < 1e-5, f"16 dimensions are {cut}")
    check(near(cut, [value / length(raw[:16]) for value in raw[:16]]), "16 dimensions are not the first 16")
    mean = vectors(texts, extra_body={"pooling": "mean"})
    check(mean[0] != whole[0] and vectors(texts[:1], extra_body={"pooling": "mean"}) == mean[:1], "the mean changes")
    error = expect(openai.BadRequestError, None,
                   lambda: client.embeddings.create(model=model, input="a", dimensions=len(raw) + 1))
    check(error.param == "dimensions", f"the parameter at fault is {error.param!r}, expected 'dimensions'")
    limit = client.models.retrieve(model).max_model_len
    check(len(vectors([[5] * limit])[0]) == len(raw), "an input that fills the context")
    expect(openai.BadRequestError, "context_length_exceeded",
           lambda: client.embeddings.create(model=model, input=[5] * (limit + 1)))
    check_scores(client, model, texts, whole)


def check_scores(client, model, texts, vectors):
    """Scores are cosines of the vectors above, rankings are sorted by them."""
    cosines = [sum(a * b for a, b in zip(vectors[0], vector)) for vector in vectors]
    post = lambda path, **body: client.post(path, cast_to=object, body={"model": model, **body})  # noqa: E731
    scores = [one["score"] for one in post("/score", text_1=texts[0], text_2=texts)["data"]]
    check(all(abs(a - b) < 1e-5 for a, b in zip(scores, cosines)), f"scores {scores}, cosines {cosines}")
    ranked = post("/rerank", query=texts[0], documents=[*texts[1:], {"text": texts[0]}], top_n=2)["results"]
    check([one["index"] for one in ranked][:1] == [2] and len(ranked) == 2, f"ranked: {ranked}")
    check(ranked[0]["document"] == {"text": texts[0]} and abs(ranked[0]["relevance_score"] - 1) < 1e-5, f"{ranked[0]}")
    check(abs(ranked[1]["relevance_score"] - max(cosines[1:])) < 1e-5, f"the second is {ranked[1]}, of {cosines}")


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class Part(pydantic.BaseModel):
    name: str = pydantic.Field(max_length=12)
    count: int = pydantic.Field(ge=1, le=99)


class Car(pydantic.BaseModel):
    colour: Colour
    electric: bool
    owner: str | None = pydantic.Field(max_length=12)
    parts: list[Part] = pydantic.Field(max_length=2)


def check_long_inputs(client, model):
    """A prompt that the context has no room for: its end, its parts, each as that prompt alone; a window goes on when it is full."""
    limit = client.models.retrieve(model).max_model_len
    half, num_tokens = list(range(100, 100 + limit // 2 + 50)), 4

    def text(prompt, **extra):
        answer = client.completions.create(model=model, prompt=prompt, temperature=0, max_tokens=extra.pop("max_tokens", num_tokens), extra_body=extra)
        return answer.choices[0].text, answer.usage.completion_tokens

    whole = half + half[::-1]
    split, num_generated = text(whole, long_input="split", ignore_eos=True)
    check(split == text(half, ignore_eos=True)[0] + "\n" + text(half[::-1], ignore_eos=True)[0], "an answer of parts is not the answers of the parts")
    check(num_generated == 2 * num_tokens, f"{num_generated} tokens of two parts")
    kept = whole[-(limit - num_tokens):]
    check(text(whole, long_input="truncate") == text(kept), "what is left of a prompt has another answer")
    slid, num_generated = text(kept, long_input="sliding", max_tokens=3 * num_tokens, ignore_eos=True)
    check(num_generated == 3 * num_tokens and slid.startswith(text(kept, ignore_eos=True)[0]), "a window does not go on where the context ends")


def check_structured(client, model):
    """Every answer that ends is what was asked for, greedy or not, streamed or not, also of several at a time."""
    ask = [{"role": "user", "content": "Describe a car."}]
    for temperature in (0, 1.5):
        settings = dict(model=model, messages=ask, temperature=temperature, seed=5, max_tokens=300)
        answer = client.chat.completions.parse(**settings, n=2, response_format=Car)
        for choice in answer.choices:
            check(choice.finish_reason == "stop" and isinstance(choice.message.parsed, Car), f"parsed: {choice}")
        with client.chat.completions.stream(**settings, response_format=Car) as stream:
            final = stream.get_final_completion().choices[0].message
        check(final.content == answer.choices[0].message.content, "streamed, a structured answer is another one")
        parsed = client.responses.parse(model=model, input=ask, text_format=Car, temperature=temperature,
                                        max_output_tokens=300, extra_body={"seed": 5})
        check(parsed.output_parsed == answer.choices[0].message.parsed, f"/v1/responses parsed {parsed.output_parsed}")
        anything = client.chat.completions.create(**settings, response_format={"type": "json_object"}).choices[0]
        if anything.finish_reason == "stop":
            check(isinstance(json.loads(anything.message.content), dict), f"no object: {anything.message.content}")
        text = lambda **outputs: client.completions.create(  # noqa: E731
            model=model, prompt="It is", temperature=temperature, seed=5, max_tokens=60, logprobs=1,
            extra_body={"structured_outputs": outputs}).choices[0].text
        check(text(choice=["hot", "cold"]) in ("hot", "cold"), "a choice is none of its list")
        check(re.fullmatch(r"\d{2}:\d{2}", text(regex=r"\d{2}:\d{2}")), "a text does not match its regex")
        check(re.fullmatch("(ab){1,3}!", text(grammar='root ::= "ab"{1,3} "!"')), "a text is not of its grammar")
    error = expect(openai.BadRequestError, "invalid_grammar", lambda: client.completions.create(
        model=model, prompt="It is", extra_body={"structured_outputs": {"json": {"not": {}}}}))
    check(error.param == "structured_outputs.json", f"the parameter at fault is {error.param!r}")


class Weather(pydantic.BaseModel):
    """The weather of a city."""
    city: str = pydantic.Field(max_length=20)
    unit: typing.Literal["C", "F"]


def check_tools(client, model):
    """Calls are named, numbered and of their schema, in chats and responses, streamed or not, and can be answered."""
    weather = openai.pydantic_function_tool(Weather)
    clock = {"type": "function", "function": {"name": "clock", "description": "The time."}}
    ask = [{"role": "user", "content": "What is the weather in Paris?"}]
    for temperature in (0, 1.2):
        settings = dict(model=model, messages=ask, temperature=temperature, seed=3, max_tokens=200, tools=[weather])
        answer = client.chat.completions.parse(**settings, tool_choice={"type": "function", "function": {"name": "Weather"}})
        message = answer.choices[0].message
        check(answer.choices[0].finish_reason == "tool_calls" and len(message.tool_calls) == 1, f"no call: {answer}")
        check(isinstance(message.tool_calls[0].function.parsed_arguments, Weather), f"arguments: {message.tool_calls}")
        with client.chat.completions.stream(
                **settings, tool_choice={"type": "function", "function": {"name": "Weather"}}) as stream:
            final = stream.get_final_completion().choices[0].message
        said = lambda one: [(call.function.name, call.function.arguments) for call in one.tool_calls]  # noqa: E731
        check(said(final) == said(message), f"streamed {said(final)}, whole {said(message)}")
        settings["tools"].append(clock)  # the helpers above take strict ones alone
        required = client.chat.completions.create(**settings, tool_choice="required", parallel_tool_calls=False).choices[0]
        check([call.function.name in ("Weather", "clock") for call in required.message.tool_calls] == [True],
              f"required, but not parallel: {required}")
        either = client.chat.completions.create(**settings).choices[0]
        check(either.message.content or either.message.tool_calls, f"neither text nor calls: {either}")
        for call in either.message.tool_calls or []:
            check(isinstance(json.loads(call.function.arguments), dict), f"arguments that are no object: {call}")
        call = message.tool_calls[0]
        more = [*ask, message, {"role": "tool", "tool_call_id": call.id, "content": "12 degrees"}]
        told = client.chat.completions.create(**{**settings, "messages": more, "max_tokens": 20}, tool_choice="none")
        check(told.choices[0].message.content and not told.choices[0].message.tool_calls, f"after the call: {told}")
        flat = [{"type": "function", "strict": True, **{name: weather["function"][name] for name in ("name", "parameters")}}]
        response = client.responses.create(model=model, input=ask, temperature=temperature, max_output_tokens=200,
                                           tools=flat, tool_choice="required", extra_body={"seed": 3})
        item = response.output[0]
        check(item.type == "function_call" and Weather.model_validate_json(item.arguments), f"output: {response.output}")
        with client.responses.stream(model=model, input=ask, temperature=temperature, max_output_tokens=200, tools=flat,
                                     tool_choice="required", extra_body={"seed": 3}) as stream:
            streamed = stream.get_final_response().output
        check([one.arguments for one in streamed] == [one.arguments for one in response.output], f"streamed: {streamed}")
        client.responses.create(model=model, max_output_tokens=5, tools=flat, input=[
            *ask, *response.output, {"type": "function_call_output", "call_id": item.call_id, "output": "12 degrees"}])


def check_batches(client, model):
    """A file, a batch of it, its answers, and what is refused."""
    lines = [{"custom_id": f"id-{i}", "method": "POST", "url": "/v1/chat/completions",
              "body": {"model": model, "messages": MESSAGES, "max_tokens": 3 + i, "temperature": 0}} for i in range(5)]
    lines.append({**lines[0], "custom_id": "bad", "body": {"model": "no-such-model", "messages": MESSAGES}})
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    file = client.files.create(file=("input \"1\".jsonl", content), purpose="batch")
    check(file.bytes == len(content) and file.purpose == "batch" and file.filename.startswith("input"), f"file: {file}")
    check(client.files.retrieve(file.id) == file and client.files.content(file.id).read() == content, "another file")
    check(file.id in [entry.id for entry in client.files.list(limit=1)], "the file is not listed")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h",
                                  metadata={"name": "test"})
    check(batch.metadata == {"name": "test"} and batch.status == "validating", f"created: {batch}")
    for _ in range(600):
        batch = client.batches.retrieve(batch.id)
        if batch.status in ("completed", "failed", "expired", "cancelled"):
            break
        time.sleep(0.1)
    counts = batch.request_counts
    check((batch.status, counts.total, counts.completed, counts.failed) == ("completed", 6, 5, 1), f"ended: {batch}")
    answers = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
    check([answer["custom_id"] for answer in answers] == [f"id-{i}" for i in range(5)], "answers are missing")
    for i, answer in enumerate(answers):
        said = openai.types.chat.ChatCompletion.model_validate(answer["response"]["body"])
        alone = client.chat.completions.create(**lines[i]["body"])
        check(said.choices[0].message == alone.choices[0].message, f"in the batch {said}, alone {alone}")
    [refused] = map(json.loads, client.files.content(batch.error_file_id).text.splitlines())
    check(refused["response"]["status_code"] == 404 and refused["custom_id"] == "bad", f"refused: {refused}")

    second = client.batches.create(input_file_id=file.id, endpoint="/v1/completions", completion_window="24h")
    for _ in range(600):
        second = client.batches.retrieve(second.id)
        if second.status != "validating":
            break
        time.sleep(0.1)
    check(second.status == "failed" and second.errors.data[0].line == 1, f"another endpoint than its lines: {second}")
    check([entry.id for entry in client.batches.list(limit=1)] == [second.id, batch.id], "the list, over two pages")
    third = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    check(client.batches.cancel(third.id).status == "cancelling", "cancelled at once, a batch is cancelling")
    error = expect(openai.ConflictError, "batch_not_cancellable", lambda: client.batches.cancel(batch.id))
    check("completed" in error.message, f"the message is {error.message}")
    expect(openai.NotFoundError, "not_found", lambda: client.batches.retrieve("batch_none"))
    error = expect(openai.BadRequestError, None, lambda: client.files.create(file=content, purpose="fine-tune"))
    check(error.param == "purpose", f"the parameter at fault is {error.param!r}")
    check(client.files.delete(batch.output_file_id).deleted, "the output cannot be deleted")
    expect(openai.NotFoundError, "not_found", lambda: client.files.content(batch.output_file_id))


def check_errors(client, model, has_key):
    if has_key:
        expect(openai.AuthenticationError, "invalid_api_key",
               lambda: client.with_options(api_key="wrong").models.list())
    expect(openai.NotFoundError, "model_not_found",
           lambda: client.chat.completions.create(model="no-such-model", messages=MESSAGES))
    error = expect(openai.BadRequestError, None,
                   lambda: client.chat.completions.create(model=model, messages=MESSAGES, temperature=-1))
    check(error.param == "temperature", f"the parameter at fault is {error.param!r}, expected 'temperature'")
    expect(openai.BadRequestError, "unknown_parameter",
           lambda: client.chat.completions.create(model=model, messages=MESSAGES, extra_body={"no_such_thing": 1}))
    limit = client.models.retrieve(model).max_model_len
    expect(openai.BadRequestError, "context_length_exceeded",
           lambda: client.completions.create(model=model, prompt=[5] * (limit + 1), max_tokens=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--api-key", default="", help="empty: the server asks for none")
    arguments = parser.parse_args()
    client = openai.OpenAI(base_url=arguments.base_url, api_key=arguments.api_key or "none", max_retries=0, timeout=120)
    try:
        check_models(client, arguments.model)
        check_chat(client, arguments.model)
        check_responses(client, arguments.model)
        check_completion(client, arguments.model)
        check_choosing(client, arguments.model)
        check_embeddings(client, arguments.model)
        check_long_inputs(client, arguments.model)
        check_structured(client, arguments.model)
        check_tools(client, arguments.model)
        check_batches(client, arguments.model)
        check_errors(client, arguments.model, bool(arguments.api_key))
    except openai.APIError as error:
        check(False, f"unexpected {type(error).__name__}: {error}")
    print("openai client: models, chats, responses, completions, streams, lists of tokens, embeddings, scores, long inputs, structured answers, tools, batches and errors hold")


if __name__ == "__main__":
    main()
