#!/usr/bin/env python3
"""launch/packaging says what is true: the installed program starts, its options exist, its files are well formed."""
import ast
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import server as system

PACKAGING = system.ROOT / "launch/packaging"
BINARY = pathlib.Path(os.environ.get("ECHELON_BINARY") or system.ROOT / "build/release/echelon")
BASE = {"libc6", "libgcc-s1", "libstdc++6"}  # of every Debian


def run(command, **more):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120, **more)


def files():
    return [path for path in sorted(PACKAGING.rglob("*")) if path.is_file()]


def needs(tool):
    return unittest.skipIf(shutil.which(tool) is None, f"{tool} is not installed")


def packages_of(text):
    """What the last `apt-get install` of a recipe names."""
    words = text.rpartition("--no-install-recommends")[2].replace("\\\n", " ").splitlines()[0].partition("&&")[0].split()
    return {word for word in words if re.match(r"[a-z0-9]", word)}


class Packaging(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.prefix = pathlib.Path(cls.folder.name) / "echelon"
        done = run(["cmake", "--install", BINARY.parent, "--prefix", cls.prefix])
        assert done.returncode == 0, done.stderr

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_what_is_installed_starts_ranks(self):
        environment = {key: value for key, value in os.environ.items() if key != "ECHELON_BINARY"}
        done = run([self.prefix / "bin/echelon-run", "-np", 2, "--", "doctor"], env=environment)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("2 ranks on 1 host", done.stdout)
        self.assertTrue((self.prefix / "libexec/echelon/launch/slurm/echelon.sbatch").is_file())

    def test_options_exist(self):
        known = set(re.findall(r"--[a-z0-9-]+", run([BINARY, "serve", "--help"]).stdout))
        named = set()
        for path in files():
            for line in re.findall(r"\bserve\b([^\n]*)", path.read_text()):
                named |= set(re.findall(r"(?<!\S)--[a-z0-9-]+", line))
        self.assertGreater(len(named), 3)
        self.assertEqual(named - known, set())

    def test_build_options_exist(self):
        known = set(re.findall(r"\b(?:option|set)\((ECHELON_[A-Z]+)", (system.ROOT / "CMakeLists.txt").read_text()))
        for name in ("Dockerfile", "echelon.def", "spack/packages/echelon/package.py"):
            named = set(re.findall(r"(?:-D|\")(ECHELON_[A-Z]+)", (PACKAGING / name).read_text()))
            self.assertEqual((named - known, bool(named)), (set(), True), name)

    @needs("dpkg")
    def test_containers_have_every_library(self):
        docker = packages_of((PACKAGING / "Dockerfile").read_text())
        self.assertEqual(docker, packages_of((PACKAGING / "echelon.def").read_text()))
        for library in re.findall(r"NEEDED.*\[(.*)\]", run(["readelf", "-d", BINARY]).stdout):
            if library.startswith("ld-linux"):
                continue
            path = re.search(rf"{re.escape(library)} => (\S+)", run(["ldd", BINARY]).stdout).group(1)
            for candidate in (path, path.removeprefix("/usr"), os.path.realpath(path)):
                owner = run(["dpkg", "-S", candidate]).stdout.partition(":")[0]
                if owner:
                    break
            self.assertIn(owner, docker | BASE, f"of {library}")

    @needs("systemd-analyze")
    def test_the_unit(self):
        unit = pathlib.Path(self.folder.name) / "echelon.service"
        unit.write_text((PACKAGING / "echelon.service").read_text().replace("/opt/echelon", str(self.prefix)))
        done = run(["systemd-analyze", "verify", "--man=no", unit])
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_the_spack_recipe(self):
        tree = ast.parse((PACKAGING / "spack/packages/echelon/package.py").read_text())
        self.assertEqual([node.name for node in tree.body if isinstance(node, ast.ClassDef)], ["Echelon"])

    @needs("lua")
    def test_the_module(self):
        stubs = """
          set = {}
          function myModuleVersion() return "0.1.0" end
          function pathJoin(...) return table.concat({...}, "/") end
          function setenv(name, value) set[name] = value end
          prepend_path = setenv
          function help() end
          whatis, depends_on = help, help
          dofile(arg[1])
          for name, value in pairs(set) do print(name .. "=" .. value) end"""
        done = run(["lua", "-", PACKAGING / "echelon.lua"], input=stubs, env={**os.environ, "ECHELON_ROOT": str(self.prefix)})
        self.assertEqual(done.returncode, 0, done.stderr)
        values = dict(line.split("=", 1) for line in done.stdout.splitlines())
        self.assertTrue((pathlib.Path(values["PATH"]) / "echelon-run").exists())
        self.assertTrue(os.access(values["ECHELON_BINARY"], os.X_OK))
        self.assertTrue((pathlib.Path(values["ECHELON_HOME"]) / "launch/slurm/echelon.sbatch").exists())

    def test_scripts_of_ondemand(self):
        for path in (PACKAGING / "ondemand/template").iterdir():
            script = re.sub(r"<%=.*?%>", "value", path.read_text())
            done = run(["bash", "-n"], input=script)
            self.assertEqual((done.returncode, done.stderr), (0, ""), path)

    def test_forms_of_ondemand(self):
        try:
            import yaml
        except ImportError:
            self.skipTest("python3 has no yaml")
        form = yaml.safe_load((PACKAGING / "ondemand/form.yml").read_text())
        self.assertLessEqual(set(form["attributes"]), set(form["form"]))
        submit = re.sub(r"<%=.*?%>", "1", (PACKAGING / "ondemand/submit.yml.erb").read_text())
        self.assertEqual(yaml.safe_load(submit)["batch_connect"]["template"], "basic")
        self.assertEqual(yaml.safe_load((PACKAGING / "ondemand/manifest.yml").read_text())["role"], "batch_connect")
        for name in re.findall(r"(\w+)\.(?:to_i|blank\?)", (PACKAGING / "ondemand/submit.yml.erb").read_text()):
            self.assertIn(name, form["form"])


if __name__ == "__main__":
    unittest.main()
