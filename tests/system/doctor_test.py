#!/usr/bin/env python3
"""`echelon doctor` under mpirun and alone; processes that do not know of each other; what a server leaves for others."""
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import server as system

BINARY = os.environ.get("ECHELON_BINARY") or str(system.ROOT / "build/release/echelon")


def alone(arguments, environment=None):
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=60,
                          env={**os.environ, **(environment or {})})


def report(arguments, num_ranks):
    """The JSON of a doctor under launch/run, which mpirun's words may stand around, and the exit code."""
    with system.Job(["doctor", "--json", *arguments], num_ranks) as job:
        code = job.wait_exit(60)
        lines = [line for line in job.log().splitlines() if line.startswith("{")]
        return json.loads(lines[0]), code


class Doctor(unittest.TestCase):
    def test_two_ranks(self):
        found, code = report([system.model_path("smollm2")], 2)
        self.assertEqual((code, found["errors"]), (0, 0), found["findings"])
        first, second = found["ranks"]
        self.assertEqual([first["local_rank"], second["local_rank"]], [0, 1])
        self.assertEqual([first["link"]["way"], second["link"]["way"]], ["", "shared memory"])
        self.assertGreater(second["link"]["us"], 0)
        self.assertGreater(second["link"]["bytes_per_s"], 0)
        self.assertEqual(first["binary"], second["binary"])
        for rank in found["ranks"]:
            self.assertIn("Open MPI", rank["mpi"])
            self.assertEqual(rank["control_fault"], "")
            self.assertGreater(rank["model"]["num_bytes"], 1 << 20)
            self.assertNotEqual(rank["model"]["file_system"], "")

    def test_what_prevents_a_start_is_its_exit_code(self):
        for num_ranks in (1, 2):
            found, code = report(["/nowhere/model.gguf"], num_ranks)
            self.assertEqual((code, found["errors"]), (1, 1), found["findings"])
            self.assertIn("/nowhere/model.gguf", found["findings"][0]["what"])

    def test_alone_without_mpi(self):
        done = alone(["doctor"])
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("1 rank on 1 host; started alone, without MPI", done.stdout)
        self.assertRegex(done.stdout, r"0 errors, \d+ warnings?\n$")

    def test_mistakes(self):
        done = alone(["doctor", "--jsn"])
        self.assertEqual(done.returncode, 2)
        self.assertIn("did you mean --json?", done.stderr)


class Singletons(unittest.TestCase):
    """Each task of an `srun` without PMI, or of another MPI's mpirun, would be rank 0 of a job of its own."""
    SRUN = {"SLURM_JOB_ID": "1", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "4"}

    def test_the_first_task_says_what_to_type(self):
        for command in (["serve", system.model_path("smollm2"), "--port", "0"], ["doctor"]):
            done = alone(command, {**self.SRUN, "SLURM_PROCID": "0"})
            self.assertEqual(done.returncode, 1)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertIn("srun started 4 processes", done.stderr)
            self.assertIn("srun --mpi=pmix", done.stderr)

    def test_the_others_are_silent(self):
        done = alone(["doctor"], {**self.SRUN, "SLURM_PROCID": "3"})
        self.assertEqual((done.returncode, done.stdout, done.stderr), (1, "", ""))

    def test_of_another_mpi(self):
        done = alone(["doctor"], {"PMI_RANK": "0", "PMI_SIZE": "2", "PMI_FD": "0"})
        self.assertEqual((done.returncode, done.stderr.count("\n")), (1, 1), done.stderr)
        self.assertIn("the mpirun of another MPI started 2 processes", done.stderr)

    def test_a_batch_script_may_run_one(self):
        script = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}
        done = alone(["doctor"], script)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("started alone", done.stdout)


class Place(unittest.TestCase):
    def test_files_that_say_where_and_logs_of_each_rank(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            endpoint, targets, logs = folder / "endpoint.json", folder / "targets.json", folder / "logs"
            endpoint.write_text("of a server before")
            arguments = ["-pp", "2", "--port", "20500-20999", "--endpoint-file", endpoint, "--prometheus-targets", targets,
                         "--log-dir", logs, "--log-level", "debug"]
            with system.Server("smollm2", num_ranks=2, arguments=arguments) as server:
                system.wait_until(lambda: "/v1/chat/completions" in server.log(), 60, "the banner")
                system.wait_until(targets.exists, 10, "the server is ready")
                said = json.loads(endpoint.read_text())
                self.assertIn(said["port"], range(20500, 21000))
                self.assertEqual((said["url"], said["model"]), (f"http://127.0.0.1:{said['port']}", system.MODEL_NAME))
                self.assertEqual(said["pid"], server.rank_pid(0))
                self.assertEqual(json.loads(targets.read_text()),
                                 [{"targets": [f"127.0.0.1:{said['port']}"], "labels": {"model": system.MODEL_NAME}}])
                done = subprocess.run([BINARY, "chat", str(endpoint), "--max-tokens", "3"], input="Hello\n", text=True,
                                      capture_output=True, timeout=60)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(server.drain(), 0)
                self.assertEqual(sorted(path.name for path in folder.iterdir()), ["logs"])
                of_rank = {path.name[:5]: path.read_text() for path in logs.iterdir()}
                self.assertEqual(sorted(of_rank), ["rank0", "rank1"])
                self.assertIn("echelon serves", of_rank["rank0"])
                self.assertIn("draining", of_rank["rank0"])
                self.assertIn("draining", server.log())
                self.assertNotIn("[1]", server.log(), "rank 1 speaks in its file alone")

    def test_a_folder_that_cannot_be(self):
        for option, path in (("--log-dir", "/dev/null/logs"), ("--endpoint-file", "/nowhere/endpoint.json")):
            with system.Server("smollm2", num_ranks=2, arguments=["-pp", "2", option, path]) as server:
                self.assertNotEqual(server.wait_exit(30), 0)
                self.assertIn(path, server.log())


if __name__ == "__main__":
    unittest.main()
