"""The servers that are compared, each with the same four words: start on a free port, ready(), url, stop. Ours comes
from tests/system/server.py (launch/run on a free port); llama.cpp's programs from benchmarks/peers/installed
(benchmarks/peers/install), or the folder $LLAMA_CPP_BIN.
"""

import http.client
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from machine import ROOT, run_program

sys.path.insert(0, str(ROOT / "tests/system"))
from server import Server, free_port, model_path  # noqa: E402  the folder has to be known first

READY_POLL_S = 0.002
READY_TIMEOUT_S = 120
LLAMA_CONTEXT = 1024  # tokens a slot


def get_status(port, path):
    """The status of a GET on this host; 0 when nobody listens yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def wait_ready(port, path, process, log):
    """Polls every 2 ms, so that the moment is good for a measurement; returns time.monotonic() of it."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while get_status(port, path) != 200:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode} before it was ready:\n{log()}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"not ready within {READY_TIMEOUT_S} s:\n{log()}")
        time.sleep(READY_POLL_S)
    return time.monotonic()


class Echelon:
    """`arguments` go to serve. Use in a with statement; entering it starts the server and waits until it is ready."""

    extra = {}

    def __init__(self, model, num_ranks=1, arguments=()):
        self.model, self.num_ranks, self.arguments = model, num_ranks, list(arguments)

    def __enter__(self):
        start = time.monotonic()
        self.server = Server(self.model, self.num_ranks, ["--kv-cache-memory", "1G", *self.arguments])
        try:
            self.start_s = wait_ready(self.server.port, "/health/ready", self.server.process, self.server.log) - start
        except BaseException:
            self.server.kill()
            raise
        return self

    def __exit__(self, *_):
        self.server.kill()
        self.server.log_file.close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.port}"

    def pids(self):
        """{name: process id} of the ranks."""
        return {f"rank {rank}": self.server.rank_pid(rank) for rank in range(self.num_ranks)}


def llama_cpp_folder():
    """The folder with llama.cpp's programs, None when they are not installed and $LLAMA_CPP_BIN is not set."""
    installed = ROOT / "benchmarks/peers/installed/llama.cpp"
    folder = os.environ.get("LLAMA_CPP_BIN") or (installed if installed.is_dir() else None)
    if not folder:
        return None
    for program in ("llama-bench", "llama-server"):
        if not os.access(pathlib.Path(folder) / program, os.X_OK):
            raise FileNotFoundError(f"{folder}: no program {program} there; see benchmarks/README.md")
    return pathlib.Path(folder).resolve()


def llama_cpp_environment(folder):
    return {**os.environ, "LD_LIBRARY_PATH": f"{folder}:{os.environ.get('LD_LIBRARY_PATH', '')}"}


class LlamaServer:
    """llama-server with so many slots of LLAMA_CONTEXT tokens; it keeps nothing of a prompt for later requests."""

    extra = {"cache_prompt": False}

    def __init__(self, model, num_threads, num_slots):
        self.folder = llama_cpp_folder()
        self.arguments = [
            "-m",
            model_path(model),
            "-t",
            str(num_threads),
            "--parallel",
            str(num_slots),
            "-c",
            str(num_slots * LLAMA_CONTEXT),
            "--cache-ram",
            "0",
        ]

    def __enter__(self):
        self.port = free_port()
        self.log_file = tempfile.NamedTemporaryFile(prefix="llama-server-", suffix=".log")
        start = time.monotonic()
        command = [self.folder / "llama-server", *self.arguments, "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self.log_file,
            stderr=subprocess.STDOUT,
            env=llama_cpp_environment(self.folder),
        )
        try:
            self.start_s = wait_ready(self.port, "/health", self.process, self.log) - start
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.log_file.close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def log(self):
        return pathlib.Path(self.log_file.name).read_text(errors="replace")[-4000:]

    def pids(self):
        return {"llama-server": self.process.pid}


def llama_bench(model, num_threads, prompt, output, repetitions):
    """llama-bench in one process: (prefill, decode) in tokens/s, each the median of its repetitions."""
    folder = llama_cpp_folder()
    command = [
        folder / "llama-bench",
        "-m",
        model_path(model),
        "-t",
        str(num_threads),
        "-p",
        str(prompt),
        "-n",
        str(output),
        "-r",
        str(repetitions),
        "-o",
        "json",
    ]
    output = run_program(command, timeout_s=600, environment=llama_cpp_environment(folder))
    rates = {}
    for test in json.loads(output):
        samples = sorted(test["samples_ts"])
        rates["decode" if test["n_gen"] else "prefill"] = samples[len(samples) // 2]
    return rates["prefill"], rates["decode"]
