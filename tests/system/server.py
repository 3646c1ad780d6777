"""A real server for a system test: launch/run on a free port, its log, its ranks, requests to it. No other packages.

    with Server("smollm2", num_ranks=2, arguments=["-pp", "2"]) as server:
        server.wait_ready()
        print(server.post("/v1/completions", {...}).json())

Leaving the block kills whatever still runs. The binary is $ECHELON_BINARY, else build/release/echelon.
"""
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import tempfile
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL_FILES = {"smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf", "gemma3": "gemma-3-270m-q4_k_m.gguf"}
MODEL_NAME = "under-test"
MARK = "SYSTEM_TEST_SERVER"  # this variable, with a value of each server's own, marks its processes
POLL_S = 0.05


def model_path(name):
    models = pathlib.Path(os.environ.get("ECHELON_MODELS") or pathlib.Path.home() / ".cache/echelon/models")
    path = models / MODEL_FILES[name]
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run launch/fetch-model {name}")
    return str(path)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until(condition, timeout_s, what):
    """Polls until condition() is true and returns its value; TimeoutError names `what`."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s} s: {what}")
        time.sleep(POLL_S)


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


class Stream:
    """Server-sent events of one request, as they arrive. close() leaves in the middle, like a client that goes away."""

    def __init__(self, server, path, body, timeout_s):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout_s)
        self.connection.request("POST", path, json.dumps({**body, "stream": True}), server.headers())
        self.response = self.connection.getresponse()
        self.status = self.response.status
        self.done = False

    def __iter__(self):
        """Yields the parsed chunks; `done` is set by [DONE], and only by it."""
        for line in self.response:
            line = line.strip()
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                self.done = True
                return
            yield json.loads(data)

    def close(self):
        if self.connection.sock is not None:
            reset = struct.pack("ii", 1, 0)
            self.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        self.response.close()
        self.connection.close()


class Job:
    """launch/run with some ranks of echelon; `arguments` begin with the command. `prefix` comes before launch/run."""
    def __init__(self, arguments, num_ranks=1, environment=None, launcher_arguments=(), prefix=()):
        self.num_ranks = num_ranks
        self.mark = uuid.uuid4().hex
        self.log_file = tempfile.NamedTemporaryFile(prefix="echelon-job-", suffix=".log")
        command = [*map(str, prefix), str(ROOT / "launch/run"), "-np", str(num_ranks), *map(str, launcher_arguments), "--",
                   *map(str, arguments)]
        variables = {**os.environ, MARK: self.mark, **(environment or {})}
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log_file,
                                        stderr=subprocess.STDOUT, env=variables, start_new_session=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is not None:
            print(f"--- log of {self} ---\n{self.log()}--- end of log ---", flush=True)
        self.kill()
        self.log_file.close()

    def __str__(self):
        return f"the job {self.process.pid}"

    # --- processes ---

    def processes(self):
        """{pid: environment} of everything that was started for this job and still runs, zombies excepted."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                raw = (entry / "environ").read_bytes()
                if f"{MARK}={self.mark}".encode() in raw.split(b"\0"):
                    pairs = (item.partition(b"=") for item in raw.split(b"\0") if item)
                    found[int(entry.name)] = {key.decode(): value.decode("utf8", "replace") for key, _, value in pairs}
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
        return found

    def rank_pid(self, rank):
        for pid, variables in self.processes().items():
            if variables.get("OMPI_COMM_WORLD_RANK", variables.get("PMIX_RANK")) == str(rank):
                return pid
        raise ProcessLookupError(f"no process of rank {rank}; log:\n{self.log()}")

    def signal_rank(self, rank, number):
        os.kill(self.rank_pid(rank), number)

    def wait_exit(self, timeout_s):
        """The exit code of launch/run; -N when signal N ended it."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"launch/run still runs after {timeout_s} s") from None

    def kill(self):
        for _ in range(100):
            left = self.processes()
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            if self.process.poll() is not None and not left:
                return
            time.sleep(POLL_S)
        raise RuntimeError(f"processes {sorted(self.processes())} of the job do not die")

    def log(self):
        return pathlib.Path(self.log_file.name).read_text(errors="replace")


class Server(Job):
    def __init__(self, model="smollm2", num_ranks=1, arguments=(), environment=None, api_key=None, port=None,
                 **launch):
        self.model = model_path(model) if model in MODEL_FILES else str(model)
        self.port = port or free_port()
        self.api_key = api_key
        variables = {**(environment or {}), **({"ECHELON_API_KEY": api_key} if api_key else {})}
        super().__init__(["serve", self.model, "--host", "127.0.0.1", "--port", self.port, "--served-model-name",
                          MODEL_NAME, *arguments], num_ranks, variables, **launch)

    def __str__(self):
        return f"the server on port {self.port}"

    def drain(self, timeout_s=60):
        self.signal_rank(0, signal.SIGUSR1)
        return self.wait_exit(timeout_s)

    def headers(self):
        headers = {"Content-Type": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        return headers

    def request(self, method, path, body=None, timeout_s=120):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), self.headers())
            response = connection.getresponse()
            return Response(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def get(self, path):
        return self.request("GET", path)

    def post(self, path, body, timeout_s=120):
        return self.request("POST", path, body, timeout_s)

    def stream(self, path, body, timeout_s=120):
        return Stream(self, path, body, timeout_s)

    def is_ready(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"launch/run ended with {self.process.returncode} before the server was ready")
        try:
            return self.get("/health/ready").status == 200
        except OSError:
            return False

    def wait_ready(self, timeout_s=60):
        wait_until(self.is_ready, timeout_s, "the server is ready")
        return self

    def metric(self, name):
        """The sum over all labels of one metric; KeyError when it is not there."""
        text = self.get("/metrics").body.decode()
        values = re.findall(rf"^{re.escape(name)}(?:\{{[^\n]*\}})? (\S+)", text, re.MULTILINE)
        if not values:
            raise KeyError(name)
        return sum(map(float, values))
