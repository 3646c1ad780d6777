"""What the machine is, what it can do at best, and how busy others keep it; medians and Markdown tables. For the
programs of this folder.

Figures of a shared machine mean something only beside these: every program prints them with its table.
"""

import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Beside the server's binary, which tests/system/server.py takes from the same variable.
BUILD = pathlib.Path(os.environ.get("ECHELON_BINARY") or ROOT / "build/release/echelon").parent
QUIET_CORES = 0.1  # cores that others may use while the machine counts as quiet
QUIET_WAIT_S = 120  # in a whole run


def say(text):
    """Progress; standard output is the report alone."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def busy_cores(seconds):
    """Cores that are in use, this program's included; what a hypervisor takes away (steal) counts as use."""

    def busy_ticks():
        fields = [int(field) for field in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(fields) - fields[3] - fields[4]  # all but idle and iowait

    before, start = busy_ticks(), time.monotonic()
    time.sleep(seconds)
    return (busy_ticks() - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - start)


class Quiet:
    """Waits for a quiet machine before each measurement, not for ever, and remembers how quiet it was."""

    def __init__(self):
        self.shares = []
        self.patience_s = QUIET_WAIT_S

    def wait(self):
        share = busy_cores(0.5)
        start = time.monotonic()
        while share > QUIET_CORES and time.monotonic() < start + self.patience_s:
            share = busy_cores(0.5)
        self.patience_s -= time.monotonic() - start
        self.shares.append(share)

    def sentence(self):
        if not self.shares:
            return "Nothing was measured."
        noisy = sum(share > QUIET_CORES for share in self.shares)
        text = (
            f"Other work just before the {len(self.shares)} measurements: median "
            f"{statistics.median(self.shares):.2f}, at most "
            f"{max(self.shares):.2f} cores; load average now {os.getloadavg()[0]:.1f}."
        )
        return text + (
            f" **{noisy} of them began on a machine that was not quiet: do not quote these figures.**" if noisy else ""
        )


def cpu_name():
    text = pathlib.Path("/proc/cpuinfo").read_text()

    def field(name):
        found = re.search(rf"^{name}\s*: (.*)$", text, re.MULTILINE)
        return found.group(1).strip() if found else "?"

    flags = set(field("flags").split())
    best = next(
        (
            title
            for flag, title in (
                ("amx_int8", "AMX"),
                ("avx512_vnni", "AVX-512 VNNI"),
                ("avx512bw", "AVX-512"),
                ("avx2", "AVX2"),
            )
            if flag in flags
        ),
        "no AVX2",
    )
    kind = f"family {field('cpu family')}, model {field('model')}, {best}"
    return f"{field('model name')} ({kind}), {len(os.sched_getaffinity(0))} cores"


def run_program(command, timeout_s, environment=None):
    """What it prints to standard output; RuntimeError with what else it said when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=environment)
    if done.returncode != 0:
        raise RuntimeError(
            f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return done.stdout


def built(name):
    """The path of one of our programs."""
    program = BUILD / name
    if not program.is_file():
        raise FileNotFoundError(f"{program} is missing: launch/build release")
    return program


def run_ranks(name, num_ranks, launcher_arguments=(), arguments=None):
    """What one of our programs prints on so many ranks, started as launch/run starts echelon."""
    return run_program(
        # launch/run wants an argument for the program; those that take none ignore it.
        [ROOT / "launch/run", "-np", str(num_ranks), *launcher_arguments, "--", *(arguments or [name])],
        timeout_s=300,
        environment={**os.environ, "ECHELON_BINARY": str(built(name))},
    )


def ceilings():
    """The lines of ceilings_bench, as a Markdown list."""
    return "\n".join(f"- {line}" for line in run_program([built("ceilings_bench")], timeout_s=120).splitlines())


def heading(title):
    commit = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    command = " ".join([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]])
    when = time.strftime("%Y-%m-%d %H:%M")
    return f"## {title}\n`benchmarks/{command}`, {when}, commit {commit or 'unknown'}, {cpu_name()}\n"


def table(columns, rows):
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def number(value):
    """Three digits at least."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def median_and_range(values):
    return f"{number(statistics.median(values))} ({number(min(values))}-{number(max(values))})"
