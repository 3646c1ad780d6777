"""Hostile requests out of a seed: bytes to send, and how. What they are for is to break a server; none may.

    generator = hostile.Generator(seed, hostile.names(server))
    statuses, seconds = hostile.attack(server.port, generator.request())
"""
import dataclasses
import json
import random
import re
import socket
import time

DEADLINE_S = 30  # for an answer; far more than one may take
GENERATE = ["/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses", "/v1/embeddings", "/score",
            "/rerank"]
TEXTS = ["/tokenize", "/detokenize", "/apply-template", "/v1/messages/count_tokens"]
GETS = ["/v1/models", "/v1/models/%2e%2e", "/health", "/health/live", "/version", "/metrics", "/debug/pipeline", "/load",
        "/tokenizer_info", "/openapi.json", "/docs", "/v1/files", "/v1/batches", "/v1/files/file-1/content",
        "/v1/batches/%00", "/nothing", "//v1/models", "/%2e%2e/version"]
VALUES = ["1e999", "-1e999", "1e-999", "123456789012345678901234567890", "-9223372036854775809", "9223372036854775807",
          "2147483648", "4294967296", "-1", "0", "-0", "0.1", "1e308", "2", "16", "true", "false", "null", "[]", "{}",
          '""', '"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"\xff"', '"\xc3("', '"\xed\xa0\x80"', "[null]",
          "[[[[[[1]]]]]]", '{"type":"text"}', '["a",1]', "[-1]", "[4294967296]", "[1,2,3]", "NaN", "-Infinity", "'a'",
          "01", '"a', "[1,]", '[{"role":"user","content":"a"}]', '[{"role":"user","content":[{"type":"text"}]}]',
          '[{"role":[],"content":{}}]', '[{"role":"tool","content":"a"}]', "[{}]", '"hello"', '{"a":1,"a":2}',
          '{"type":"json_schema","json_schema":{"name":"a","schema":{"$ref":"#"}}}', '{"type":"json_object"}',
          '{"type":"object","properties":{"a":{"pattern":"(a+)+$"}}}', '{"-1":5}', '{"999999999":1}', '{"1":1e308}',
          '[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]', '"(a|a)*{1,1000}"',
          '"root ::= root"', '{"include_usage":true}', '"split"', '"sliding"', '"truncate"', '"base64"', '"auto"']
LINES = ["GET", "GET /", "GET / HTTP/9.9", "GET  / HTTP/1.1", "GET /\t HTTP/1.1", " GET / HTTP/1.1", "G\x01T / HTTP/1.1",
         "GET /%zz HTTP/1.1", "GET /v1/models/%00%ff HTTP/1.1", "GET http://a/version HTTP/1.1", "CONNECT a:80 HTTP/1.1",
         "GET ftp://a/version HTTP/1.1", "OPTIONS * HTTP/1.1", "PRI * HTTP/2.0", "GET /../../etc/passwd HTTP/1.1",
         "TRACE / HTTP/1.1", "GET / HTTP/1.1 x", "GET /?\xff\xfe HTTP/1.1", "\x16\x03\x01\x02", "GET / http/1.1",
         "HEAD /health HTTP/1.0", "DELETE /v1/models HTTP/1.1", "", "\r\n\r\n", "\x00\x00\x00\x00"]
FIELDS = ["Host: a", "Host: a", "Host: a, b", "Host: u@a", "X", ": a", "X : a", "X: \x01\x02", " folded: a", "Host:",
          "X: a\nY: b", "X: a\rY: b", "Content-Length: 1", "Content-Length: 0", "Connection: upgrade\r\nUpgrade: h2c",
          "Expect: 100-continue", "Expect: b", "Range: bytes=0-5", "Authorization: Bearer \xff\xff", "X: a\r\n continued",
          "Transfer-Encoding: chunked", "Transfer-Encoding: gzip", "Transfer-Encoding: chunked, gzip",
          "Transfer-Encoding:\tchunked", "Content-Length: 18446744073709551616", "Content-Length: 40000000",
          "Content-Length: -1", "Content-Length: 3 3", "Connection: close", "Accept-Encoding: gzip, br"]
BODIES = ["", "abc", "3\r\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "ffffffffffffffffff\r\n", "-1\r\n\r\n", "zz\r\n",
          '3;ext="\r\nabc\r\n0\r\n\r\n', "0\r\nContent-Length: 5\r\n\r\n", "0\r\n\r\nGET /version HTTP/1.1\r\n\r\n",
          "3\nabc\n0\n\n", "7fffffff\r\n", "1\r\n{\r\n1\r\n}\r\n0\r\nX: y\r\n\r\n"]


@dataclasses.dataclass
class Request:
    kind: str
    data: bytes
    complete: bool = False  # whatever the server makes of it, it waits for no more bytes
    generates: bool = False  # the model may have to work for it
    manner: str = "whole"  # slow, leave, half: not all of it is sent, or nobody listens


def names(server):
    """Names of all members that the server's own description knows."""
    found = set()

    def collect(value):
        if isinstance(value, dict):
            found.update(value.get("properties", {}))
            for inner in value.values():
                collect(inner)
        elif isinstance(value, list):
            for inner in value:
                collect(inner)

    collect(server.get("/openapi.json").json())
    return sorted(found - {"max_tokens", "max_completion_tokens", "max_output_tokens", "ignore_eos", "min_tokens"})


def post(path, body, fields=""):
    data = body.encode("latin1")
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n{fields}\r\n"
    return head.encode("latin1") + data


class Generator:
    def __init__(self, seed, members):
        self.random = random.Random(seed)
        self.members = members

    def request(self):
        chance = self.random
        kinds = [(self.strange_body, 40), (self.noise, 15), (self.framing, 15), (self.mutated, 10), (self.truncated, 6),
                 (self.bomb, 5), (self.wrong_place, 5), (self.pipelined, 3), (self.huge, 1)]
        make = chance.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])[0]
        request = make()
        request.kind = make.__name__
        request.manner = chance.choices(["whole", "leave", "half", "slow"], [90, 5, 4, 1])[0]
        return request

    # --- kinds ---

    def good(self):
        chance = self.random
        count = chance.randrange(1, 4)
        bodies = {"/v1/completions": {"prompt": [1, 2, chance.randrange(40000)], "max_tokens": count, "logprobs": 2},
                  "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": count,
                                           "stream": True},
                  "/v1/messages": {"model": "under-test", "max_tokens": count,
                                   "messages": [{"role": "user", "content": "hi"}]},
                  "/v1/responses": {"input": "hi", "max_output_tokens": count, "stream": True},
                  "/v1/embeddings": {"input": ["a", "b"]},
                  "/tokenize": {"prompt": "a b"}, "/detokenize": {"tokens": [1, 2]}}
        path = chance.choice(sorted(bodies))
        return path, bodies[path]

    def strange_body(self):
        chance = self.random
        path = chance.choice(GENERATE + TEXTS)
        members = {}
        if chance.random() < 0.8:
            members = {
                "/v1/completions": {"prompt": '"x"', "max_tokens": "2"},
                "/v1/chat/completions": {"messages": '[{"role":"user","content":"x"}]', "max_tokens": "2"},
                "/v1/messages": {"model": '"under-test"', "messages": '[{"role":"user","content":"x"}]', "max_tokens": "2"},
                "/v1/responses": {"input": '"x"', "max_output_tokens": "2"},
                "/v1/embeddings": {"input": '"x"'}, "/score": {"text_1": '"a"', "text_2": '["b","c"]'},
                "/rerank": {"query": '"a"', "documents": '["b","c"]'}, "/detokenize": {"tokens": "[1]"},
                "/tokenize": {"prompt": '"x"'}, "/apply-template": {"messages": '[{"role":"user","content":"x"}]'},
            }.get(path, {})
        elif path in GENERATE[:4]:
            members = {"max_output_tokens" if "responses" in path else "max_tokens": chance.choice(VALUES[:3] + ["2"])}
        members = dict(members)
        for _ in range(chance.randrange(1, 4)):
            name = chance.choice(self.members) if chance.random() < 0.97 else chance.choice(["\\u0000", "\xff", "", '"'])
            members[name] = chance.choice(VALUES)
        text = ",".join(f'"{name}":{value}' for name, value in members.items())
        return Request("", post(path, "{" + text + "}"), complete=True, generates=True)

    def noise(self):
        chance = self.random
        lines = [chance.choice(LINES)] + chance.choices(FIELDS, k=chance.randrange(4))
        return Request("", ("\r\n".join(lines) + "\r\n\r\n").encode("latin1"), complete=True)

    def framing(self):
        chance = self.random
        path = chance.choice(GENERATE + TEXTS)
        lines = [f"POST {path} HTTP/1.{chance.randrange(2)}", "Host: a"] + chance.choices(FIELDS, k=chance.randrange(1, 4))
        return Request("", ("\r\n".join(lines) + "\r\n\r\n" + chance.choice(BODIES)).encode("latin1"))

    def mutated(self):
        chance = self.random
        path, body = self.good()
        data = bytearray(post(path, json.dumps(body)))
        for _ in range(chance.randrange(4)):
            at = chance.randrange(len(data))
            change = chance.randrange(3)
            if change == 0:
                data[at] = chance.randrange(256)
            elif change == 1:
                data[at:at] = bytes([chance.randrange(256)]) * chance.randrange(1, 40)
            else:
                del data[at:at + chance.randrange(1, 7)]
        return Request("", bytes(data), generates=True)

    def truncated(self):
        path, body = self.good()
        data = post(path, json.dumps(body))
        return Request("", data[:self.random.randrange(1, len(data))])

    def bomb(self):
        chance = self.random
        size = chance.choice([10, 1000, 20000, 200000])
        body = chance.choice([lambda: "[" * size, lambda: '{"a":' * size, lambda: '{"prompt":[' + "[]," * size + "[]]}",
                              lambda: '{"max_tokens":1,"prompt":"' + "a" * size + '"}',
                              lambda: '{"max_tokens":1,"prompt":"' + "\\ud83d\\ude00" * size + '"}',
                              lambda: '{"max_tokens":1,"prompt":[' + "1," * size + "1]}", lambda: '{"tokens":[' + "1," * size + "1]}",
                              lambda: "{" + ",".join(f'"{i}":0' for i in range(size)) + "}",
                              lambda: '{"messages":[' + '{"role":"user","content":"a"},' * size + "{}]}"])()
        return Request("", post(chance.choice(GENERATE + TEXTS), body), complete=True, generates=True)

    def wrong_place(self):
        chance = self.random
        method = chance.choice(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get", "FOO"])
        path = chance.choice(GETS + GENERATE + TEXTS) + chance.choice(["", "", "?a=b", "/", "%2f", "?limit=-1&after=%00"])
        fields = chance.choice(["", "Origin: http://b\r\n", "Authorization: Basic x\r\n",
                                "Content-Type: multipart/form-data; boundary=x\r\n"])
        return Request("", f"{method} {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode("latin1"), complete=True)

    def pipelined(self):
        return Request("", b"".join(self.random.choice([self.noise, self.framing, self.mutated, self.wrong_place])().data
                                    for _ in range(self.random.randrange(2, 12))), generates=True)

    def huge(self):
        chance = self.random
        size = chance.choice([1 << 16, 1 << 20, 5 << 20])
        path = chance.choice(GENERATE + TEXTS)
        make = chance.randrange(6)
        if make == 0:
            data = post(path, '{"prompt":"' + "a b " * (size // 4) + '"}')
        elif make == 1:
            data = post(path, '{"messages":[{"role":"user","content":"' + "\\n" * (size // 2) + '"}]}')
        elif make == 2:
            data = f"GET /version HTTP/1.1\r\nHost: a\r\nX: {'a' * size}\r\n\r\n".encode()
        elif make == 3:
            data = f"GET /{'a' * size} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        elif make == 4:
            data = f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
            data += b"1\r\n[\r\n" * (size // 60) + b"0\r\n\r\n"
        else:
            data = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {64 << 20}\r\n\r\n".encode() + b" " * size
        return Request("", data, complete=make < 5, generates=True)


# --- sending ---

PROBE = b"GET /version HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n"  # ends a connection that is kept alive
SILENCE_S = 0.3  # after which the sender of an incomplete request says that nothing more comes
STATUS = re.compile(rb"HTTP/1\.[01] (\d\d\d) [^\r\n]*\r\n")
END = re.compile(rb"(?:^|\r\n)0\r\n\r\n")


def split_answers(data):
    """Statuses of the answers in what a connection said; the last may be cut. ValueError when that is no HTTP."""
    statuses = []
    while data:
        match = STATUS.match(data)
        head, _, rest = data.partition(b"\r\n\r\n")
        if not match:
            raise ValueError(f"no answer: {data[:200]!r}")
        statuses.append(int(match[1]))
        length = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
        if b"\r\ntransfer-encoding: chunked" in head.lower():
            end = END.search(rest)
            rest = rest[end.end():] if end else b""
        elif length and not rest.startswith(b"HTTP/1."):  # else: to HEAD
            rest = rest[int(length[1]):]
        elif not length and statuses[-1] == 200:  # a stream to HTTP/1.0
            rest = b""
        data = rest
    return statuses


def attack(port, request):
    """(statuses, seconds to the first byte of an answer). None of both when nobody listened."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if request.manner == "slow":
                for at in range(min(20, len(request.data))):
                    connection.sendall(request.data[at:at + 1])
                    time.sleep(0.005)
                return [], None
            connection.sendall(request.data + (PROBE if request.manner == "whole" else b""))
            if request.manner == "half":
                connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all was sent; the answer may be there
        if request.manner != "whole":
            return [], None
        return receive(connection, request.complete)


def receive(connection, complete):
    begin, first, data = time.monotonic(), None, b""
    connection.settimeout(DEADLINE_S if complete else SILENCE_S)
    while True:
        try:
            piece = connection.recv(1 << 16)
        except ConnectionResetError:
            piece = b""
        except TimeoutError:
            if complete or connection.gettimeout() == DEADLINE_S:
                raise
            connection.settimeout(DEADLINE_S)
            connection.shutdown(socket.SHUT_WR)
            continue
        if first is None and piece:
            first = time.monotonic() - begin
        if not piece:
            return split_answers(data), first
        data += piece
