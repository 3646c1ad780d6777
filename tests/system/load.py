#!/usr/bin/env python3
"""Clients that stream one answer after another until the server says that it drains. Each asks the same each time, so
that what it got first is what it must get across a drain, a cut link or a lost rank.

    load.py PORT [--key-file FILE] [--clients N] [--tokens N]     prints what came; exit code 0: a drain without a loss
"""
import argparse
import http.client
import pathlib
import sys
import threading
import time

import server as system


class Load:
    """`server`: a system.Server, or whatever has its port, headers() and get()."""
    def __init__(self, server, num_clients=8, num_tokens=48, model=system.MODEL_NAME):
        self.server, self.num_tokens, self.model = server, num_tokens, model
        self.lock = threading.Lock()
        self.whole = self.refused = self.whole_after_refusal = 0
        self.failures = []  # what no client should see
        self.texts = {}  # of each client, as it came first
        self.longest_pause = 0.0  # seconds without a chunk, of all streams
        self.stopping = False
        self.threads = [threading.Thread(target=self.client, args=(index,)) for index in range(num_clients)]
        for thread in self.threads:
            thread.start()

    def body(self, index):
        """Of different lengths, so that the streams do not all end in one step."""
        return {"model": self.model, "prompt": f"{index}: The story of the {index}th lighthouse begins", "seed": index,
                "max_tokens": self.num_tokens + 3 * index, "ignore_eos": True, "temperature": 0.8 if index % 2 else 0}

    def client(self, index):
        while not self.stopping and self.one_stream(index):
            pass

    def one_stream(self, index):
        """False: there will be no more."""
        try:
            stream = self.server.stream("/v1/completions", self.body(index), timeout_s=300)
        except (OSError, http.client.HTTPException) as error:
            with self.lock:
                if not self.refused:
                    self.failures.append(f"client {index}: no answer though nothing was refused: {error!r}")
            return False
        if stream.status != 200:
            return self.refusal(index, stream.status, stream.response)
        text, finish, last = "", None, time.monotonic()
        try:
            for chunk in stream:
                now = time.monotonic()
                self.longest_pause, last = max(self.longest_pause, now - last), now
                for choice in chunk.get("choices", []):
                    text += choice["text"]
                    finish = choice["finish_reason"] or finish
        except (OSError, http.client.HTTPException, ValueError) as error:
            finish = repr(error)
        stream.close()
        with self.lock:
            if not stream.done or finish != "length":
                self.failures.append(f"client {index}: a stream ended with {finish} after {len(text)} characters")
            elif self.texts.setdefault(index, text) != text:
                self.failures.append(f"client {index}: other bytes: {text!r}, not {self.texts[index]!r}")
            else:
                self.whole += 1
                self.whole_after_refusal += self.refused > 0
        return True

    def refusal(self, index, status, response):
        body = response.read()
        response.close()
        with self.lock:
            if status == 503 and response.getheader("Retry-After") and b"draining" in body:
                self.refused += 1
            else:
                self.failures.append(f"client {index}: {status} {body[:200]}")
        return False

    def stop(self):
        """Every client ends with the stream that it reads."""
        self.stopping = True
        return self.wait()

    def wait(self):
        for thread in self.threads:
            thread.join()
        return self

    def drained_whole(self):
        """A drain came, streams went on across it, and none was lost."""
        return not self.failures and self.refused > 0 and self.whole_after_refusal > 0

    def __str__(self):
        return (f"{self.whole} streams whole, {self.whole_after_refusal} of them after the first refusal, "
                f"{self.refused} refused, longest pause {self.longest_pause:.1f} s, {len(self.failures)} failures {self.failures[:3]}")


class Address:
    """A server that another has started on this host."""
    def __init__(self, port, key=None):
        self.port, self.api_key = port, key

    headers = system.Server.headers
    stream = system.Server.stream


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--key-file", type=pathlib.Path)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=48)
    arguments = parser.parse_args()
    key = arguments.key_file.read_text().strip() if arguments.key_file else None
    load = Load(Address(arguments.port, key), arguments.clients, arguments.tokens).wait()
    print(load, flush=True)
    sys.exit(not load.drained_whole())


if __name__ == "__main__":
    main()
