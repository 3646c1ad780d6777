#!/usr/bin/env python3
"""Which folder may include which (ARCHITECTURE.md, "Rooms and arrows").  arrows.py [ROOT]

Reads every #include "..." line of the sources below ROOT, prints those that go against an arrow, and ends with 1 if
there are any.
"""
import pathlib
import re
import sys

ROOMS = {  # room: the rooms it may include besides itself; every room may include kernels/base
    "kernels": set(),
    "parallel": {"kernels"},
    "engine": {"parallel", "kernels"},
    "frontend": {"engine"},
    "launch": {"frontend", "engine", "parallel", "kernels"},  # puts the parts together
    "tests": {"launch", "frontend", "engine", "parallel", "kernels", "benchmarks"},
    "benchmarks": {"launch", "frontend", "engine", "parallel", "kernels", "tests"},
}
ENGINE = {  # folder inside engine: the others it may include; files directly in engine/ may include them all
    "text": set(),
    "weights": set(),
    "grammar": {"text"},
    "cache": set(),
    "sample": set(),
    "model": {"cache", "weights"},
    "schedule": {"cache"},
    "planner": {"model", "schedule"},  # what a layout holds and how fast it is; the simulation schedules
    "stage": {"model", "cache", "weights", "sample"},  # the last stage samples
}
# Plain data that crosses folders of engine: the plan and its masks, made by schedule and carried out by stage, and their bytes.
PLAIN_DATA = re.compile(r"engine/schedule/(micro_batch\w*|step_masks|wire)\.h")
LEAVES = ("text", "weights")
SOURCES = {".h", ".cc", ".cu", ".cuh"}
PEERS = "benchmarks/peers/installed"  # other people's software, which git ignores
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')


def sources(root):
    for room in ROOMS:
        for path in sorted((root / room).rglob("*")):
            if path.suffix in SOURCES and not path.is_relative_to(root / PEERS):
                yield path


def includes(path):
    """(line number, target) of every quoted include; comments in front of the # do not occur in this tree."""
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1)


def engine_folder(file):
    """"cache" for engine/cache/x.h, "" for engine/x.h."""
    parts = file.split("/")
    return parts[1] if len(parts) > 2 else ""


def reaches_folder(file, graph, seen=None):
    """Does a header directly in engine/ include, through others like it, a folder of engine that is no leaf?"""
    seen = set() if seen is None else seen
    if file in seen:
        return False
    seen.add(file)
    for target in graph.get(file, ()):
        if not target.startswith("engine/") or PLAIN_DATA.fullmatch(target):
            continue
        folder = engine_folder(target)
        if (folder and folder not in LEAVES) or (not folder and reaches_folder(target, graph, seen)):
            return True
    return False


def objection(file, target, graph):
    """Why `file` must not include `target`, or None."""
    if target not in graph:
        return "no such file from the root of the repository"
    room, target_room = file.split("/")[0], target.split("/")[0]
    if target.startswith("kernels/base/"):
        return None
    if file.startswith("kernels/base/"):
        return "kernels/base includes nothing but itself"
    if room != target_room:
        return None if target_room in ROOMS[room] else f"{room} may not include {target_room}"
    if room != "engine":
        return None
    folder, target_folder = engine_folder(file), engine_folder(target)
    if not folder or folder == target_folder:
        return None
    if folder not in ENGINE:
        return f"engine/{folder} has no arrows yet: give it some in tests/system/arrows.py and ARCHITECTURE.md"
    if folder in LEAVES:
        return f"engine/{folder} is a leaf"
    if not target_folder:
        return f"{target} includes folders of engine itself" if reaches_folder(target, graph) else None
    if target_folder in ENGINE[folder] or PLAIN_DATA.fullmatch(target):
        return None
    return f"engine/{folder} may not include engine/{target_folder}"


def offences(root):
    files = {path.relative_to(root).as_posix(): list(includes(path)) for path in sources(root)}
    graph = {file: [target for _, target in lines] for file, lines in files.items()}
    for file, lines in files.items():
        for number, target in lines:
            reason = objection(file, target, graph)
            if reason:
                yield f'{file}:{number}: #include "{target}": {reason}'


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2]).resolve()
    found = list(offences(root))
    for line in found:
        print(line)
    count = sum(1 for _ in sources(root))
    if count == 0:
        found.append(f"no sources below {root}")
        print(found[-1])
    print(f"{count} files, {len(found)} includes against an arrow")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
