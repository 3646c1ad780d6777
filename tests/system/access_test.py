#!/usr/bin/env python3
"""Who may use a server that others can reach: keys from a file, read again on SIGHUP, the key it makes when there is none,
a Unix-domain socket, TLS, limits and the log of requests."""
import http.client
import json
import pathlib
import signal
import socket
import ssl
import stat
import subprocess
import tempfile
import unittest

import server as system


class Access(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="echelon-access-")
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)

    def write(self, name, text, mode=0o600):
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def status(self, server, key):
        server.api_key = key
        return server.get("/v1/models").status

    def test_a_key_is_made_where_others_reach_the_server(self):
        variables = {"XDG_CACHE_HOME": str(self.folder), "HOME": "/nowhere"}
        with system.Server(arguments=["--host", "0.0.0.0"], environment=variables) as server:
            server.wait_ready()
            self.assertEqual(self.status(server, None), 401)
            [path] = (self.folder / "echelon/keys").iterdir()
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
            key = path.read_text().strip()
            self.assertEqual(self.status(server, key), 200)
            system.wait_until(lambda: str(path) in server.log(), 10, "the banner names the file")
            self.assertNotIn(key, server.log())
            self.assertEqual(server.drain(), 0)
            self.assertFalse(path.exists())

    def test_keys_are_read_again(self):
        keys = self.write("keys", "alice:one\n")
        with system.Server(arguments=["--api-key-file", keys]) as server:
            server.wait_ready()
            self.assertEqual([self.status(server, key) for key in (None, "one", "two")], [401, 200, 401])
            self.write("keys", "alice:two\n")
            server.signal_rank(0, signal.SIGHUP)
            system.wait_until(lambda: self.status(server, "two") == 200, 10, "the new key counts")
            self.assertEqual(self.status(server, "one"), 401)
            self.write("keys", "alice:three\n", 0o644)
            server.signal_rank(0, signal.SIGHUP)
            system.wait_until(lambda: "chmod 600" in server.log(), 10, "the log says what to do")
            self.assertEqual([self.status(server, key) for key in ("two", "three")], [200, 401])
            self.assertEqual(server.drain(), 0)

    def test_a_unix_domain_socket_beside_tcp(self):
        path, port = self.folder / "socket", system.free_port()
        arguments = ["--listen", f"unix:{path}", "--listen", f"127.0.0.1:{port}"]
        with system.Server(arguments=arguments, port=port) as server:
            server.wait_ready()
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
            connection = http.client.HTTPConnection("localhost")
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(str(path))
            body = json.dumps({"model": system.MODEL_NAME, "prompt": "a", "max_tokens": 2})
            connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            self.assertEqual((response.status, bool(response.read())), (200, True))
            connection.close()
            self.assertIn(f"curl --unix-socket {path} ", server.log())
            server.signal_rank(0, signal.SIGKILL)
            server.wait_exit(30)
        self.assertTrue(path.exists(), "the server was killed")
        with system.Server(arguments=arguments, port=port) as server:
            server.wait_ready()
            self.assertEqual(server.drain(), 0)
        self.assertFalse(path.exists())

    def test_a_certificate_is_read_again(self):
        certificate, key = self.folder / "cert.pem", self.folder / "key.pem"

        def make(name):
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                            "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", key, "-out",
                            certificate], check=True, capture_output=True)

        def answers(server, name):
            context = ssl.create_default_context(cafile=certificate)
            try:
                with socket.create_connection(("127.0.0.1", server.port), timeout=10) as tcp:
                    with context.wrap_socket(tcp, server_hostname=name) as tls:
                        tls.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                        return tls.recv(100).startswith(b"HTTP/1.1 200")
            except (OSError, ssl.SSLError):
                return False

        make("first.test")
        with system.Server(arguments=["--tls-cert", certificate, "--tls-key", key]) as server:
            system.wait_until(lambda: answers(server, "first.test"), 60, "the server is ready")
            self.assertEqual(server.get("/health").status, 400)
            self.assertIn(f"https://127.0.0.1:{server.port}/v1", server.log())
            make("second.test")
            server.signal_rank(0, signal.SIGHUP)
            system.wait_until(lambda: answers(server, "second.test"), 10, "the new certificate counts")
            self.assertEqual(server.drain(), 0)

    def test_requests_are_logged_and_limited(self):
        keys = self.write("keys", "alice:one requests=2\n")
        log = self.folder / "requests.jsonl"
        with system.Server(arguments=["--api-key-file", keys, "--request-log", log], api_key="one") as server:
            server.wait_ready()
            body = {"model": system.MODEL_NAME, "prompt": "Once upon a time", "max_tokens": 3, "ignore_eos": True}
            self.assertEqual(server.post("/v1/completions", body).status, 200)
            self.assertEqual(server.post("/v1/completions", {**body, "stream": True}).status, 200)
            third = server.post("/v1/completions", body)
            self.assertEqual((third.status, third.headers["x-ratelimit-remaining-requests"]), (429, "0"))
            self.assertGreater(int(third.headers["Retry-After"]), 1)
            self.assertEqual(server.drain(), 0)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        asked = [line for line in lines if line["path"] == "/v1/completions"]
        asked.sort(key=lambda line: line["time"])  # a line is written when its session is done, after the client has read
        self.assertEqual([line["status"] for line in asked], [200, 200, 429])
        for line in asked[:2]:
            self.assertEqual((line["key"], line["completion_tokens"], line["finish_reason"]), ("alice", 3, "length"))
            self.assertLessEqual(0, line["queue_ms"])
            self.assertLessEqual(line["queue_ms"], line["ttft_ms"])
            self.assertLessEqual(line["ttft_ms"], line["total_ms"])
        self.assertNotIn("Once upon", log.read_text())

    def test_a_faulty_key_file_ends_the_start(self):
        keys = self.write("keys", "alice:one\n", 0o640)
        with system.Server(num_ranks=2, arguments=["--api-key-file", keys]) as server:
            self.assertNotEqual(server.wait_exit(30), 0)
            self.assertIn(f"chmod 600 {keys}", server.log())
            self.assertNotIn("alice:one", server.log())


if __name__ == "__main__":
    unittest.main(verbosity=2)
