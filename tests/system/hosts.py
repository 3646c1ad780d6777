#!/usr/bin/env python3
"""Simulated hosts on this machine, as root: each has its own network, host name and /dev/shm; they share the file system,
as over NFS. A switch in user space carries their Ethernet frames, with delay and loss, and can cut a host off.

    with Hosts(4) as hosts:
        hosts.switch("delay 20 1")      milliseconds each way, percent lost
        hosts.switch("cut h3")          and "join h3"
        subprocess.run(hosts.on("h1", "ping", "-c1", "h2"))
`hosts.agent` is for mpirun what ssh is elsewhere (OMPI_MCA_plm_rsh_agent).
"""
import collections
import ctypes
import fcntl
import os
import pathlib
import random
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import time

SUBNET = "10.77.0"
INTERFACE = "eth0"
MAX_QUEUED_FRAMES = 20_000
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000


def enter_network(pid):
    with open(f"/proc/{pid}/ns/net") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0):
            raise OSError(ctypes.get_errno(), "setns")


class Hosts:
    def __init__(self, count):
        self.names = [f"h{i}" for i in range(1, count + 1)]
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="echelon-hosts-", dir="/var/tmp"))
        self.processes, self.pids = [], {}
        self.agent = self.folder / "agent"

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()
        shutil.rmtree(self.folder)

    def start(self):
        lines = [f"{SUBNET}.{i} {name}" for i, name in enumerate(self.names, 1)]
        (self.folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *lines]) + "\n")
        for name in self.names:
            script = (f"hostname {name}; mount -t tmpfs tmpfs /dev/shm; mount --bind {self.folder}/hosts /etc/hosts; "
                      "ip link set lo up; echo; exec sleep infinity")
            host = subprocess.Popen(["unshare", "--net", "--uts", "--ipc", "--mount", "sh", "-ec", script],
                                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
            self.processes.append(host)
            if not host.stdout.readline():
                raise RuntimeError(f"no host {name}: this needs root")
            self.pids[name] = host.pid
        pairs = [f"{name}={pid}" for name, pid in self.pids.items()]
        self.switching = subprocess.Popen([sys.executable, __file__, *pairs], stdin=subprocess.PIPE,
                                          stdout=subprocess.PIPE, text=True)
        self.processes.append(self.switching)
        self.switching.stdout.readline()
        for i, name in enumerate(self.names, 1):
            for command in (f"addr add {SUBNET}.{i}/24 dev {INTERFACE}", f"link set {INTERFACE} up"):
                subprocess.run(self.on(name, "ip", *command.split()), check=True)
        cases = "".join(f"  {name}) pid={pid} ;;\n" for name, pid in self.pids.items())
        self.agent.write_text('#!/bin/sh\n# HOST COMMAND..\nhost=$1\nshift\ncase $host in\n' + cases + "esac\n"
                              'exec nsenter --target "$pid" --net --uts --ipc --mount --wd="$PWD" -- sh -c "$*"\n')
        self.agent.chmod(0o755)

    def on(self, name, *command):
        return ["nsenter", "--target", str(self.pids[name]), "--net", "--uts", "--ipc", "--mount", f"--wd={os.getcwd()}",
                "--", *map(str, command)]

    def enter(self, name):
        """From now on this thread's connections, and those of threads that it starts, are the host's."""
        enter_network(self.pids[name])

    def processes_of(self, name):
        network = os.stat(f"/proc/{self.pids[name]}/ns/net").st_ino
        found = set()
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if os.stat(entry / "ns/net").st_ino == network:
                    found.add(int(entry.name))
            except OSError:  # it has ended, or is not ours
                pass
        return found

    def switch(self, command):
        """Returns when it holds."""
        self.switching.stdin.write(command + "\n")
        self.switching.stdin.flush()
        self.switching.stdout.readline()


class Switch:
    """Every frame goes to the port of its receiver, or to all; in order, `delay_s` later, unless it is lost."""
    def __init__(self, pid_of_host):
        self.ports = {name: self.tap(pid) for name, pid in pid_of_host.items()}
        self.port_of_address = {}
        self.delay_s, self.loss = 0.0, 0.0
        self.cut = set()
        self.queue = collections.deque()  # (due, port, frame)
        self.random = random.Random(1)

    @staticmethod
    def tap(pid):
        enter_network(pid)
        port = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(port, TUNSETIFF, struct.pack("16sH22x", INTERFACE.encode(), IFF_TAP | IFF_NO_PI))
        return port

    def take(self, name):
        """All that a host has sent."""
        for _ in range(64):
            try:
                frame = os.read(self.ports[name], 65536)
            except BlockingIOError:
                return
            receiver, sender = frame[:6], frame[6:12]
            self.port_of_address[sender] = name
            if name in self.cut or self.random.random() < self.loss or len(self.queue) >= MAX_QUEUED_FRAMES:
                continue
            known = self.port_of_address.get(receiver)
            for other in [known] if known else [port for port in self.ports if port != name]:
                self.queue.append((time.monotonic() + self.delay_s, other, frame))

    def deliver(self):
        while self.queue and self.queue[0][0] <= time.monotonic():
            _, name, frame = self.queue.popleft()
            if name not in self.cut:
                try:
                    os.write(self.ports[name], frame)
                except OSError:  # not up yet
                    pass

    def command(self, word, *values):
        if word == "delay":
            self.delay_s, self.loss = float(values[0]) / 1000, float(values[1]) / 100
        elif word == "cut":
            self.cut.add(values[0])
        elif word == "join":
            self.cut.discard(values[0])
        print(flush=True)

    def run(self):
        names = {port: name for name, port in self.ports.items()}
        print(flush=True)
        while True:
            wait_s = max(0.0, self.queue[0][0] - time.monotonic()) if self.queue else None
            for ready in select.select([sys.stdin, *names], [], [], wait_s)[0]:
                if ready is not sys.stdin:
                    self.take(names[ready])
                elif line := sys.stdin.readline():
                    self.command(*line.split())
                else:
                    return
            self.deliver()


if __name__ == "__main__":
    Switch({name: int(pid) for name, pid in (pair.split("=") for pair in sys.argv[1:])}).run()
