#!/usr/bin/env python3
"""Load on any OpenAI-compatible /v1/completions: closed loop, streams, prompts of random token ids that share no
beginning. Says output and prompt tokens/s, TTFT, TPOT and ITL. Only Python's own library; also a module: run_load()
for the other programs.

    load.py http://127.0.0.1:8000 --streams 32 --requests 64 --prompt 128 --output 64 [--json]

How the numbers are taken. Time starts before connect(). TTFT ends with the arrival of the first token's chunk; ITL is
the time between two chunks of a stream, TPOT a stream's (last - first) / (completion tokens - 1), rates are tokens of
the server's own `usage` over the time from the first request's start to the last one's end. Chunks are only stamped
while streams run and parsed afterwards: the client shares the cores with the server, and says what share of a core it
took. A request that fails is counted and shown, never left out silently.
"""

import argparse
import asyncio
import dataclasses
import http.client
import json
import random
import statistics
import sys
import time
import urllib.parse

FIRST_TOKEN_ID = 300  # below are special tokens and single bytes
MAX_HEADER_LINES = 200
MAX_BODY_BYTES = 64 << 20
FAILURES_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Load:
    """What is sent. `extra` goes into every body as it is, such as {"cache_prompt": False}."""

    num_requests: int = 8
    num_streams: int = 1
    prompt_tokens: int = 128
    output_tokens: int = 64
    vocab_size: int = 40000
    seed: int = 0
    timeout_s: float = 600
    extra: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Answer:
    """One stream: times in seconds of time.perf_counter(), one of `token_times` for each chunk with a token."""

    start: float
    end: float
    token_times: list
    prompt_tokens: int
    completion_tokens: int

    def ttft_s(self):
        return self.token_times[0] - self.start

    def tpot_s(self):
        return (self.token_times[-1] - self.token_times[0]) / (self.completion_tokens - 1)


class RequestFailed(Exception):
    pass


async def read_head(reader):
    """The status and the headers, names in lower case."""
    status_line = await reader.readline()
    parts = status_line.split(None, 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/"):
        raise RequestFailed(f"no HTTP answer but {status_line[:80]!r}")
    headers = {}
    for _ in range(MAX_HEADER_LINES):
        line = (await reader.readline()).strip()
        if not line:
            return int(parts[1]), headers
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip().lower()
    raise RequestFailed(f"more than {MAX_HEADER_LINES} header lines")


async def body_pieces(reader, headers):
    """Pieces of the body with their times of arrival."""
    if headers.get(b"transfer-encoding") != b"chunked":
        while piece := await reader.read(65536):
            yield time.perf_counter(), piece
        return
    while size := int((await reader.readline()).split(b";")[0], 16):
        if size > MAX_BODY_BYTES:
            raise RequestFailed(f"a chunk of {size} bytes")
        piece = await reader.readexactly(size)
        yield time.perf_counter(), piece
        await reader.readexactly(2)


def parse_stream(start, end, pieces):
    """The answer in the pieces of an event stream; RequestFailed when it is not whole."""
    lines, rest, size_bytes = [], b"", 0
    for arrival, piece in pieces:
        size_bytes += len(piece)
        *whole, rest = (rest + piece).split(b"\n")
        lines += [(arrival, line) for line in whole]
    if size_bytes > MAX_BODY_BYTES:
        raise RequestFailed(f"an answer of {size_bytes} bytes")
    token_times, usage, done = [], None, False
    for arrival, line in lines:
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            done = True
            break
        chunk = json.loads(data)
        if chunk.get("error"):
            raise RequestFailed(str(chunk["error"])[:300])
        usage = chunk.get("usage") or usage
        # Some servers end with a chunk that has a finish_reason and no token.
        for choice in chunk.get("choices", [])[:1]:
            if choice.get("text") or choice.get("finish_reason") is None:
                token_times.append(arrival)
    if not done or not usage:
        raise RequestFailed("the stream ended without " + ("usage" if done else "[DONE]"))
    # A server may hold back the text of the only token (part of a character): then its time is the end's.
    return Answer(start, end, token_times or [end], usage["prompt_tokens"], usage["completion_tokens"])


async def complete(address, body, timeout_s):
    start = time.perf_counter()
    data = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection(*address, limit=1 << 20)
    try:
        writer.write(
            b"POST /v1/completions HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: application/json\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n" % (address[0].encode(), address[1], len(data)) + data
        )
        async with asyncio.timeout(timeout_s):
            status, headers = await read_head(reader)
            pieces = [piece async for piece in body_pieces(reader, headers)]
        end = time.perf_counter()
    finally:
        writer.close()
    if status != 200:
        raise RequestFailed(f"HTTP {status}: " + b"".join(piece for _, piece in pieces)[:300].decode(errors="replace"))
    return parse_stream(start, end, pieces)


async def send_all(address, bodies, num_streams, timeout_s):
    """Answers, and errors as texts, in the order in which they end."""
    answers, failures, waiting = [], [], iter(bodies)

    async def stream():
        for body in waiting:
            try:
                answer = await complete(address, body, timeout_s)
                if answer.completion_tokens != body["max_tokens"] or answer.prompt_tokens < len(body["prompt"]):
                    raise RequestFailed(
                        f"asked for {len(body['prompt'])} in, {body['max_tokens']} out, usage says "
                        f"{answer.prompt_tokens} in, {answer.completion_tokens} out"
                    )
                answers.append(answer)
            except (RequestFailed, OSError, ValueError, KeyError, TimeoutError, asyncio.IncompleteReadError) as error:
                failures.append(f"{type(error).__name__}: {error}")

    await asyncio.gather(*[stream() for _ in range(num_streams)])
    return answers, failures


def answers_of(port, bodies, num_streams, timeout_s):
    """From 127.0.0.1, of bodies that need not name a model; RuntimeError when one fails."""
    answers, failures = asyncio.run(send_all(("127.0.0.1", port), bodies, num_streams, timeout_s))
    if failures:
        raise RuntimeError(failures[0])
    return answers


def first_model(address):
    connection = http.client.HTTPConnection(*address, timeout=30)
    try:
        connection.request("GET", "/v1/models")
        return json.loads(connection.getresponse().read())["data"][0]["id"]
    finally:
        connection.close()


def quantile(values, share):
    """The value with `share` of the others below it; nan when there is none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def summary(load, answers, failures, client_s):
    """Rates in tokens a second, times in ms."""
    result = dict(
        streams=load.num_streams,
        requests=load.num_requests,
        prompt=load.prompt_tokens,
        output=load.output_tokens,
        failed=len(failures),
    )
    if not answers:
        return result
    wall_s = max(answer.end for answer in answers) - min(answer.start for answer in answers)
    ttft = [answer.ttft_s() for answer in answers]
    tpot = [answer.tpot_s() for answer in answers if answer.completion_tokens > 1]
    itl = [b - a for answer in answers for a, b in zip(answer.token_times, answer.token_times[1:])]
    result.update(
        wall_s=wall_s,
        output_tokens_per_s=sum(answer.completion_tokens for answer in answers) / wall_s,
        prompt_tokens_per_s=sum(answer.prompt_tokens for answer in answers) / wall_s,
    )
    for name, values in (("ttft", ttft), ("tpot", tpot), ("itl", itl)):
        if values:
            result |= {
                f"{name}_p50_ms": statistics.median(values) * 1e3,
                f"{name}_p99_ms": quantile(values, 0.99) * 1e3,
            }
    return result | {"client_cores": client_s / wall_s}


def run_load(url, load, model=None):
    """Returns (summary, failures as texts). `model`: default the first of /v1/models."""
    parts = urllib.parse.urlparse(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"{url}: http://HOST:PORT is wanted")
    address = (parts.hostname, parts.port or 80)
    model = model or first_model(address)
    numbers = random.Random(load.seed)
    bodies = [
        dict(
            model=model,
            prompt=[numbers.randrange(FIRST_TOKEN_ID, load.vocab_size) for _ in range(load.prompt_tokens)],
            max_tokens=load.output_tokens,
            temperature=0,
            ignore_eos=True,
            stream=True,
            stream_options={"include_usage": True},
            **load.extra,
        )
        for _ in range(load.num_requests)
    ]
    client_start = time.process_time()
    answers, failures = asyncio.run(send_all(address, bodies, load.num_streams, load.timeout_s))
    return summary(load, answers, failures, time.process_time() - client_start), failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--model", help="default: the first of /v1/models")
    parser.add_argument("-c", "--streams", type=int, default=1, help="requests in flight [1]")
    parser.add_argument("-n", "--requests", type=int, default=8)
    parser.add_argument("-p", "--prompt", type=int, default=128, help="tokens of each prompt [128]")
    parser.add_argument("-o", "--output", type=int, default=64, help="tokens of each answer [64]")
    parser.add_argument(
        "--vocab", type=int, default=40000, help=f"token ids are random in {FIRST_TOKEN_ID} .. VOCAB - 1 [40000]"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout-s", type=float, default=600)
    parser.add_argument(
        "--extra", type=json.loads, default={}, help="JSON object for every body, such as '{\"cache_prompt\": false}'"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args()
    if (
        min(arguments.streams, arguments.requests, arguments.prompt, arguments.output) < 1
        or arguments.vocab <= FIRST_TOKEN_ID
    ):
        parser.error(f"counts are at least 1, --vocab more than {FIRST_TOKEN_ID}")
    load = Load(
        num_requests=arguments.requests,
        num_streams=arguments.streams,
        prompt_tokens=arguments.prompt,
        output_tokens=arguments.output,
        vocab_size=arguments.vocab,
        seed=arguments.seed,
        timeout_s=arguments.timeout_s,
        extra=arguments.extra,
    )
    result, failures = run_load(arguments.url, load, arguments.model)
    if arguments.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:>20} {value:.2f}" if isinstance(value, float) else f"{name:>20} {value}")
    for failure in failures[:FAILURES_SHOWN]:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
