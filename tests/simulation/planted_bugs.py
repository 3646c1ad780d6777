#!/usr/bin/env python3
"""Does the simulation find bugs?  planted_bugs.py BUILD_FOLDER [NAME ...]

Puts one bug at a time into a copy of a source file, links test_simulation with it in place of the real one, and wants the
test to fail. Ends with 1 when a bug is not found, or a place to put it is not there any more.
"""
import concurrent.futures
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SEEDS = "1-2000"
SCHEDULER, PLAN = "engine/schedule/scheduler.cc", "engine/schedule/scheduler_plan.cc"
POOL = "engine/cache/block_pool.cc"
QUEUE = "engine/schedule/waiting_queue.cc"
SLOTS, STAGE = "engine/stage/slot_table.cc", "engine/stage/stage.cc"
POOLER = "engine/stage/pooler.cc"

BUGS = {  # name: (file, the text, the bug)
    "a block is freed twice": (
        SCHEDULER,
        "  release(sequence);\n  sequence.num_scheduled = 0;",
        "  if (sequence.blocks.size() > 3) pool_.release(sequence.blocks.back());\n"
        "  release(sequence);\n  sequence.num_scheduled = 0;",
    ),
    "a slot's generation is stale": (
        PLAN,
        "sequence.generation = ++generations_[sequence.slot];",
        "sequence.generation = generations_[sequence.slot] = std::max(1u, generations_[sequence.slot]);",
    ),
    "an abort is lost": (
        SCHEDULER,
        "  Sequence& sequence = *found->second;\n  if (sequence.running) {",
        "  Sequence& sequence = *found->second;\n  if (sequence.num_in_flight > 1) return true;\n  if (sequence.running) {",
    ),
    "what was in flight at a loss is waited for": (
        SCHEDULER,
        "    sequence->num_in_flight = 0;\n",
        "",
    ),
    "a token that was fed back is taken for known after a loss": (
        SCHEDULER,
        "    sequence->num_scheduled = sequence->num_fed_back = 0;",
        "    sequence->num_scheduled = 0;",
    ),
    "a loss keeps what a waiting sequence has run": (
        SCHEDULER,
        "    sequence->num_scheduled = sequence->num_fed_back = 0;",
        "    sequence->num_fed_back = 0;",
    ),
    "one token too many": (
        SCHEDULER,
        "sequence.num_output() >= sequence.sampling.max_tokens)",
        "sequence.num_output() > sequence.sampling.max_tokens)",
    ),
    "a stop one token late": (
        SCHEDULER,
        "sequence.num_output() > sequence.sampling.min_tokens)",
        "sequence.num_output() > sequence.sampling.min_tokens + 1)",
    ),
    "a mask for the token before": (
        SCHEDULER,
        "static_cast<int>(find(row.sequence)->tokens.size()) == row.position;",
        "static_cast<int>(find(row.sequence)->tokens.size()) >= row.position - 1;",
    ),
    "no mask after a sequence has ended": (
        SCHEDULER,
        "  std::erase_if(front.rows, [&](const MaskedRow& row) { return find(row.sequence) == nullptr; });\n",
        "  if (std::erase_if(front.rows, [&](const MaskedRow& row) { return find(row.sequence) == nullptr; }) > 0 &&\n"
        "      front.rows.empty())\n    masked_.pop_front();\n  if (masked_.empty()) return std::nullopt;\n",
    ),
    "masks are given to the wrong rows": (STAGE, "each.masked && each.slot == mask.slot", "each.masked && each.slot >= 0"),
    "results in any order": (SCHEDULER, "in_flight_.front().number != result.number", "false"),
    "a result's rows in another order": (
        STAGE,
        "  return result;\n}\n\n}  // namespace echelon",
        "  if (result.rows.size() > 2) std::swap(result.rows[0], result.rows[1]);\n"
        "  return result;\n}\n\n}  // namespace echelon",
    ),
    "a mark of being in flight leaks": (
        SCHEDULER,
        "    --sequence.num_in_flight;\n    if (!answer) continue;",
        "    if (!answer) continue;\n    --sequence.num_in_flight;",
    ),
    "the youngest starts first": (
        QUEUE,
        "sequences.begin(), sequences.end()});",
        "std::prev(sequences.end()), sequences.end()});",
    ),
    "a class that is not the best starves": (
        QUEUE,
        "queue.starts_before_others_ < kTurnOfOthers - 1",
        "queue.starts_before_others_ >= 0",
    ),
    "a tenant leaves while it has work": (SCHEDULER, "    waiting_.enter(sequence->tenant, sequence->weight);\n",
                                          "    if (sequence->choice < 2) waiting_.enter(sequence->tenant, sequence->weight);\n"),
    "choices share blocks and do not count it": (PLAN, "      pool_.retain(*block);\n", ""),
    "no token of a cached prompt is left to run": (
        PLAN,
        "const int limit = (static_cast<int>(sequence.tokens.size()) - 1) / kBlockTokens;",
        "const int limit = static_cast<int>(sequence.tokens.size()) / kBlockTokens;",
    ),
    "a block is published before its tokens are known": (
        SCHEDULER,
        "while (static_cast<int>(sequence.keys.size() + 1) * kBlockTokens <= num_known)",
        "while (static_cast<int>(sequence.keys.size() + 1) * kBlockTokens <= num_known + 16 &&\n"
        "         static_cast<int>(sequence.keys.size() + 1) * kBlockTokens <= static_cast<int>(sequence.tokens.size()))",
    ),
    "another's salt": (
        PLAN,
        "PrefixKey parent = root_key(sequence.cache_salt);",
        "PrefixKey parent = root_key(sequence.cache_salt & ~uint64_t{1});",
    ),
    "a sequence of the plan is preempted for it": (PLAN, "    if (draft.has(sequence)) continue;", "   "),
    "a preempted sequence starts while its rows are in flight": (
        PLAN,
        "  if (sequence.num_in_flight > 0) return false;\n",
        "",
    ),
    "a salt that is not the same everywhere": (
        SCHEDULER,
        "const PrefixKey parent = index == 0 ? root_key(sequence.cache_salt) : sequence.keys.back();",
        "const PrefixKey parent = index < 2 ? root_key(sequence.cache_salt) : sequence.keys.back();",
    ),
    "what was cached in a block is not forgotten": (POOL, "  forget(block);\n  blocks_[block].references = 1;",
                                                     "  blocks_[block].references = 1;"),
    "a cached block is found and still free": (POOL, "  if (b.references++ == 0) free_.erase(b.place);",
                                               "  b.references++;"),
    "a slot keeps the blocks of the sequence before": (SLOTS, "  slot.blocks.clear();\n", ""),
    "the token before the last is fed back": (
        STAGE,
        "    slots_.sampling(row.slot).note_output(want.token.token);\n"
        "    slots_.sampled_token(row.slot) = want.token.token;",
        "    slots_.sampling(row.slot).note_output(want.token.token);\n"
        "    if (row.first_position % 2 == 0) slots_.sampled_token(row.slot) = want.token.token;",
    ),
    "a mean begins in the middle of a prompt": (PLAN, " || sequence.pooling == Pooling::mean;", ";"),
    "a preempted sum goes on": (POOLER, "if (row.first_position == 0) sum = ", "if (sum.generation == 0) sum = "),
    "a sum without the last chunk": (POOLER, "  add(row, first_row, sum);", "  if (!row.pool || sum.count == 0) add(row, first_row, sum);"),
    "a vector that is sampled after": (
        PLAN,
        "row.sample = sequence.pooling == Pooling::none &&",
        "row.sample = (sequence.pooling == Pooling::none || sequence.num_scheduled > 90) &&",
    ),
    "penalties do not see new tokens": (STAGE, "    slots_.sampling(row.slot).note_output(want.token.token);\n", ""),
}


def command_lines(build):
    output = subprocess.run(["ninja", "-C", build, "-t", "commands", "test_simulation"], capture_output=True, text=True,
                            check=True).stdout
    return [line for line in output.splitlines() if line]


def compile_line(lines, source):
    """The compiler's words for one source, and where -o and the source stand in them."""
    for line in lines:
        words = shlex.split(line)
        if words and words[-1].endswith("/" + source):
            return words
    raise SystemExit(f"planted_bugs: ninja does not compile {source}")


def link_line(lines):
    """The words that link: the last command, without what CMake puts around it."""
    for command in lines[-1].split("&&"):
        words = shlex.split(command)
        if "-o" in words:
            return words
    raise SystemExit("planted_bugs: ninja does not link test_simulation")


def find(name, build, lines, folder):
    """What became of one bug: "found", or why not."""
    source, text, bug = BUGS[name]
    original = (ROOT / source).read_text(encoding="utf-8")
    if original.count(text) != 1:
        return f"its place in {source} is there {original.count(text)} times"
    copy = folder / pathlib.Path(source).name
    copy.write_text(original.replace(text, bug), encoding="utf-8")
    compile_words = compile_line(lines, source)
    compile_words[-1] = str(copy)
    compile_words[compile_words.index("-o") + 1] = str(copy) + ".o"
    if "-MF" in compile_words:
        compile_words[compile_words.index("-MF") + 1] = str(copy) + ".d"
    link_words = link_line(lines)
    program = folder / "test_simulation"
    at = link_words.index("-o") + 1
    link_words[at] = str(program)
    link_words.insert(at + 1, str(copy) + ".o")  # before the archive, whose member is then not taken
    for words in (compile_words, link_words):
        done = subprocess.run(words, cwd=build, capture_output=True, text=True)
        if done.returncode != 0:
            return f"it does not build:\n{done.stderr}"
    return f"not found in seeds {SEEDS}" if passes(program) else "found"


def passes(program):
    try:
        test = subprocess.run([program, "--gtest_brief=1"], capture_output=True, text=True, timeout=300,
                              env={**os.environ, "ECHELON_SIMULATION_SEEDS": SEEDS})
    except subprocess.TimeoutExpired:
        return False  # it hangs: ctest's time limit is as good
    return test.returncode == 0


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    build = pathlib.Path(sys.argv[1]).resolve()
    names = sys.argv[2:] or list(BUGS)
    for name in names:
        if name not in BUGS:
            raise SystemExit(f"planted_bugs: no bug is called '{name}'")
    if not passes(build / "test_simulation"):
        raise SystemExit("planted_bugs: the test fails without a bug, so its failures say nothing")
    lines = command_lines(build)
    failed = 0
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        def one(index):
            own = pathlib.Path(folder) / str(index)
            own.mkdir()
            return find(names[index], build, lines, own)

        for name, result in zip(names, pool.map(one, range(len(names)))):
            print(f"{name}: {result}", flush=True)
            failed += result != "found"
    if failed:
        raise SystemExit(f"planted_bugs: {failed} of {len(names)} not found")
    print(f"all {len(names)} bugs were found")


if __name__ == "__main__":
    main()
