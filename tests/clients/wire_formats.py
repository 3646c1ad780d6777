#!/usr/bin/env python3
"""Sends a running server what clients send that cannot be installed here (Node is not there, vLLM is too large), as their sources have it, and
checks what they read of the answers: `vllm bench serve`, promptfoo, Open WebUI, and OpenAI's client for Node.

Exit code 0 when everything holds; otherwise 1 and one line that says what did not. Python's standard library alone.
Usage: wire_formats.py --base-url http://127.0.0.1:8000/v1 --model NAME [--api-key KEY]
"""
import argparse
import json
import sys
import urllib.error
import urllib.request

TIMEOUT_S = 120


def check(condition, message):
    if not condition:
        print(f"wire formats: {message}", file=sys.stderr)
        sys.exit(1)


class Wire:
    """One client's requests: its own headers on every one."""

    def __init__(self, client, arguments, headers):
        self.client, self.base_url = client, arguments.base_url
        self.headers = {"Content-Type": "application/json", **headers}
        if arguments.api_key:
            self.headers["Authorization"] = f"Bearer {arguments.api_key}"

    def send(self, path, body=None, headers=None):
        """(headers, body) of an answer that must be a 200."""
        request = urllib.request.Request(self.base_url + path, None if body is None else json.dumps(body).encode(),
                                         {**self.headers, **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                return response.headers, response.read()
        except urllib.error.HTTPError as error:
            check(False, f"{self.client}: {path} gave {error.code}: {error.read().decode()}")

    def json(self, path, body=None, headers=None):
        return json.loads(self.send(path, body, headers)[1])

    def events(self, path, body, headers=None):
        """The parsed data of a stream; [DONE] must be the last, and there only once."""
        answer_headers, data = self.send(path, body, headers)
        self.expect(answer_headers["Content-Type"].startswith("text/event-stream"), "a stream is not of its type")
        messages = data.decode().split("\n\n")
        self.expect(messages[-2:] == ["data: [DONE]", ""], f"a stream ends with {messages[-2:]}")
        self.expect(all(message.startswith("data: ") for message in messages[:-1]), "an event without data")
        return [json.loads(message.removeprefix("data: ")) for message in messages[:-2]]

    def expect(self, condition, message):
        check(condition, f"{self.client}: {message}")


def check_vllm_bench(arguments):
    """Its two request functions. The model comes from /v1/models, its tokenizer from `root`."""
    wire = Wire("vllm bench serve", arguments, {})
    model = wire.json("/models")["data"][0]
    wire.expect(model["id"] == arguments.model and model["root"], f"the model is {model}")
    num_tokens = 7
    common = {"model": model["id"], "stream": True, "stream_options": {"include_usage": True}, "ignore_eos": True}
    plans = {"/completions": {"prompt": "The sky is", "repetition_penalty": 1.0, "max_tokens": num_tokens,
                              "logprobs": None, "temperature": 0.0},
             "/chat/completions": {"messages": [{"role": "user", "content": [{"type": "text", "text": "The sky is"}]}],
                                   "max_completion_tokens": num_tokens}}
    for path, members in plans.items():
        events = wire.events(path, {**common, **members}, {"x-request-id": "bench-0"})
        *tokens, usage = events
        wire.expect(tokens and all(event["choices"] for event in tokens), f"{path}: a token's event has no choice")
        # Times between tokens are taken between events. A token without text of its own has none, as here with a chat's random ones.
        wire.expect(len(tokens) == num_tokens or "temperature" not in members, f"{path}: {len(tokens)} events")
        wire.expect(usage["choices"] == [] and usage["usage"]["completion_tokens"] == num_tokens,
                    f"{path}: the last event is {usage}")
        wire.expect(usage["usage"]["prompt_tokens"] > 0, f"{path}: usage {usage['usage']}")
        wire.expect(not any(event.get("usage") for event in tokens), f"{path}: usage before the last event")
        name = "text_completion" if path == "/completions" else "chat.completion.chunk"
        wire.expect({event["object"] for event in events} == {name}, f"{path}: `object` is not {name} everywhere")


def check_promptfoo(arguments):
    wire = Wire("promptfoo", arguments, {"OpenAI-Organization": "org-none"})
    completion = {"model": arguments.model, "prompt": "The sky is", "max_tokens": 4, "temperature": 0, "top_p": 1,
                  "presence_penalty": 0, "frequency_penalty": 0, "best_of": 1, "logprobs": True,
                  "stop": ["<|im_end|>", "<|endoftext|>"]}
    answer = wire.json("/completions", completion)
    logprobs = answer["choices"][0]["logprobs"]
    wire.expect(len(logprobs["token_logprobs"]) == answer["usage"]["completion_tokens"], f"log-probabilities {logprobs}")
    wire.expect(all(len(top) in (1, 2) for top in logprobs["top_logprobs"]), f"log-probabilities {logprobs}")

    schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"],
              "additionalProperties": False}
    chat = {"model": arguments.model, "messages": [{"role": "user", "content": "A colour as JSON."}], "max_tokens": 40,
            "temperature": 0, "logprobs": True, "metadata": {"suite": "colours"}, "store": False,
            "response_format": {"type": "json_schema", "json_schema": {"name": "colour", "strict": True, "schema": schema}}}
    choice = wire.json("/chat/completions", chat)["choices"][0]
    wire.expect(json.loads(choice["message"]["content"])["colour"] in ("red", "blue"), f"structured: {choice}")
    text = "".join(entry["token"] for entry in choice["logprobs"]["content"])
    wire.expect(text == choice["message"]["content"], f"log-probabilities of {text!r}")


def check_open_webui(arguments):
    wire = Wire("Open WebUI", arguments, {"X-OpenWebUI-User-Name": "A%20Person", "X-OpenWebUI-User-Id": "1",
                                          "X-OpenWebUI-User-Email": "a@example.org", "X-OpenWebUI-User-Role": "user",
                                          "X-OpenWebUI-Chat-Id": "2f0c"})
    listed = wire.json("/models")
    wire.expect([model["id"] for model in listed["data"]] == [arguments.model], f"the models are {listed}")
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name three colours."}]
    events = wire.events("/chat/completions", {
        "model": arguments.model, "messages": messages, "stream": True, "stream_options": {"include_usage": True},
        "max_tokens": 8, "temperature": 0})
    said = "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"])
    wire.expect(said and events[-1]["usage"]["completion_tokens"] <= 8, f"a stream said {said!r}, then {events[-1]}")
    # Titles, tags and follow-ups are asked for in one message, and not streamed.
    task = "### Task:\nGenerate a title of 3 to 5 words.\n### Output:\nJSON\n### Chat History:\nUSER: Name three colours."
    title = wire.json("/chat/completions", {
        "model": arguments.model, "messages": [{"role": "user", "content": task}], "stream": False,
        "max_completion_tokens": 12, "temperature": 0,
        "metadata": {"task": "title_generation", "task_body": {"model": arguments.model, "messages": messages},
                     "chat_id": "2f0c"}})
    wire.expect(title["choices"][0]["message"]["content"], f"a title: {title}")
    wire.expect({"prompt_tokens", "completion_tokens", "total_tokens"} <= title["usage"].keys(), f"usage {title}")


def check_vectors(arguments):
    """`vllm bench serve` with its backends for embeddings and rankings; Open WebUI's documents and its external reranker."""
    texts = ["Name three colours.", "Red, green and blue.", "Seven apples"]
    bench = Wire("vllm bench serve", arguments, {})
    for path, body, num_texts in (("/embeddings", {"input": texts[0]}, 1), ("/embeddings", {"input": texts}, 3),
                                  ("/rerank", {"query": texts[0], "documents": texts[1:]}, 3)):
        answer = bench.json(path, {"model": arguments.model, **body, "truncate_prompt_tokens": -1})
        bench.expect(answer["usage"]["prompt_tokens"] >= num_texts, f"usage of {path}: {answer['usage']}")
    wire = Wire("Open WebUI", arguments, {})
    embedded = wire.json("/embeddings", {"input": texts, "model": arguments.model})["data"]
    wire.expect(len(embedded) == 3 and all(len(one["embedding"]) > 16 for one in embedded), "not a vector for each text")
    ranked = wire.json("/rerank", {"model": arguments.model, "query": texts[0], "documents": texts, "top_n": 3})["results"]
    scores = [one["relevance_score"] for one in sorted(ranked, key=lambda one: one["index"])]
    wire.expect(len(scores) == 3 and scores[0] == max(scores), f"the query among the documents is not the best: {scores}")


def check_openai_node(arguments):
    wire = Wire("OpenAI's client for Node", arguments, {
        "Accept": "application/json", "User-Agent": "OpenAI/JS 6.9.0", "X-Stainless-Retry-Count": "0",
        "X-Stainless-Timeout": "600", "X-Stainless-Lang": "js", "X-Stainless-Package-Version": "6.9.0",
        "X-Stainless-OS": "Linux", "X-Stainless-Arch": "x64", "X-Stainless-Runtime": "node",
        "X-Stainless-Runtime-Version": "v22.11.0", "OpenAI-Organization": "", "OpenAI-Project": "",
        "Accept-Language": "*", "Sec-Fetch-Mode": "cors", "Accept-Encoding": "gzip, deflate"})
    wire.expect(wire.json("/models")["object"] == "list", "the models are no list")
    body = {"model": arguments.model, "messages": [{"role": "user", "content": "Hello"}], "max_completion_tokens": 6,
            "temperature": 0, "seed": 7}
    headers, data = wire.send("/chat/completions", body)
    wire.expect(headers["Content-Type"].startswith("application/json"), f"the type of an answer: {headers['Content-Type']}")
    wire.expect(headers["x-request-id"], "no x-request-id, which the client shows as _request_id")
    whole = json.loads(data)["choices"][0]["message"]["content"]
    events = wire.events("/chat/completions", {**body, "stream": True},
                         {"X-Stainless-Helper-Method": "stream", "Accept": "application/json"})
    said = "".join(event["choices"][0]["delta"].get("content") or "" for event in events)
    wire.expect(said == whole, f"streamed {said!r}, whole {whole!r}")
    # Its stream helper puts snapshots together from exactly these members.
    for event in events:
        wire.expect(event["id"] == events[0]["id"] and {"created", "model", "object"} <= event.keys(), f"event {event}")
        choice = event["choices"][0]
        wire.expect(choice["index"] == 0 and "finish_reason" in choice and "delta" in choice, f"event {event}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--api-key", default="", help="empty: the server asks for none")
    arguments = parser.parse_args()
    check_vllm_bench(arguments)
    check_promptfoo(arguments)
    check_open_webui(arguments)
    check_vectors(arguments)
    check_openai_node(arguments)
    print("wire formats: vllm bench serve, promptfoo, Open WebUI and OpenAI's client for Node hold")


if __name__ == "__main__":
    main()
