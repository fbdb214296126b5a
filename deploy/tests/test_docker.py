"""The image: its Dockerfile without lint, a context that suffices, and the binary in the image's file layout."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import time
import tomllib
import unittest

from support import DEPLOY, ROOT, fanfare, program, run

DOCKERFILE = DEPLOY / "docker" / "Dockerfile"
PATIENCE_SECONDS = 20


def instructions(stage=-1):
    """(instruction, argument) of each line of a stage, the last one by default."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.M)
    lines = [line.split(None, 1) for line in re.sub(r"\\\n\s*", " ", text).splitlines() if line.strip()]
    stages = []
    for name, argument in lines:
        if name == "FROM":
            stages.append([])
        if stages:
            stages[-1].append((name, argument))
    return stages[stage]


def the(name):
    found = [argument for instruction, argument in instructions() if instruction == name]
    assert len(found) == 1, f"{name}: {found}"
    return found[0]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Docker(unittest.TestCase):
    def test_lint_finds_nothing(self):
        code, output = run(program("HADOLINT", "hadolint", ".tools/venv/bin/hadolint"), str(DOCKERFILE))
        self.assertEqual((code, output), (0, ""))

    def test_image_is_one_binary_and_nobody(self):
        copied = [argument for name, argument in instructions() if name in ("COPY", "ADD", "RUN")]
        self.assertEqual(copied, ["--from=build /out/fanfare /fanfare"])
        self.assertEqual(the("USER"), "65532:65532")
        self.assertEqual(json.loads(the("ENTRYPOINT")), ["/fanfare"])
        self.assertEqual(the("STOPSIGNAL"), "SIGTERM")

    def test_version_is_the_workspace_s(self):
        version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
        self.assertIn(f"VERSION={version}", [argument for name, argument in instructions() if name == "ARG"])

    def test_compiler_is_new_enough(self):
        wanted = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["rust-version"]
        has = re.search(r"library/rust:([\d.]+)", DOCKERFILE.read_text())[1]
        self.assertGreaterEqual([int(part) for part in has.split(".")], [int(part) for part in wanted.split(".")[:2]])

    def test_context_has_what_cargo_needs_and_little_else(self):
        """The kept paths of .dockerignore, copied by themselves, are a workspace."""
        lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
        self.assertEqual(lines[0], "*")
        kept = [line[1:] for line in lines if line.startswith("!")]
        left_out = {pathlib.Path(line).name for line in lines[1:] if not line.startswith("!")}
        context = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        for name in kept:
            source = ROOT / name
            if source.is_file():
                shutil.copy(source, context / name)
            else:
                shutil.copytree(source, context / name, ignore=lambda _, names: [name for name in names if name in left_out])
        code, output = run("cargo", "metadata", "--no-deps", "--offline", "--locked", "--format-version", "1", cwd=context)
        self.assertEqual(code, 0, output)
        binaries = [target["name"] for package in json.loads(output[output.index("{"):])["packages"] for target in package["targets"]
                    if "bin" in target["kind"]]
        self.assertIn("fanfare", binaries)
        size = sum(path.stat().st_size for path in context.rglob("*") if path.is_file())
        self.assertLess(size, 30_000_000, "something large is in the context")

    @unittest.skipUnless(os.geteuid() == 0 and shutil.which("chroot"), "needs root")
    def test_binary_serves_in_the_layout_of_the_image(self):
        """As the image's user on a file system with the binary alone, which it cannot write, and with its environment."""
        root = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        shutil.copy(fanfare(), root / "fanfare")
        self.copy_libraries(root)
        # What the base image has beside: a directory for temporary files.
        (root / "tmp").mkdir(mode=0o777)
        (root / "tmp").chmod(0o1777)
        root.chmod(0o755)
        environment = dict(pair.split("=", 1) for pair in the("ENV").split())
        ports = {name: free_port() for name in ("LISTEN", "CONTROL_LISTEN", "ADMIN_LISTEN")}
        for name, port in ports.items():
            self.assertTrue(environment[f"FANFARE_{name}"].startswith("0.0.0.0:"))
            environment[f"FANFARE_{name}"] = f"127.0.0.1:{port}"
        inside = [shutil.which("chroot"), f"--userspec={the('USER')}", str(root)]
        entry = json.loads(the("ENTRYPOINT"))
        code, output = run(*inside, *entry, "--version", env=environment)
        self.assertEqual((code, output[:8]), (0, "fanfare "), output)
        code, output = run(*inside, *entry, *json.loads(the("CMD")), "--help", env=environment)
        self.assertEqual(code, 0, output)
        with open(root / "log", "w") as log:
            process = subprocess.Popen([*inside, *entry, "dev"], env=environment, stdout=log, stderr=log)
        try:
            probe = the("HEALTHCHECK").split("CMD", 1)[1].replace("6003", str(ports["ADMIN_LISTEN"]))
            deadline = time.monotonic() + PATIENCE_SECONDS
            while (answer := run(*inside, *json.loads(probe), env=environment))[0] != 0:
                self.assertLess(time.monotonic(), deadline, answer[1] + (root / "log").read_text())
                self.assertIsNone(process.poll(), (root / "log").read_text())
                time.sleep(0.1)
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            self.assertRegex(status, r"(?m)^Uid:\s65532\s65532\s65532\s65532$")
            process.kill()
            process.wait()
            self.assertNotEqual(run(*inside, *json.loads(probe), env=environment)[0], 0, "the probe sees no difference")
        finally:
            process.kill()
            process.wait()

    def copy_libraries(self, root):
        """A debug build is not static: what it is linked with comes along."""
        _, output = run("ldd", fanfare())
        for library in re.findall(r"(/\S+) \(0x", output):
            target = root / library.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)


if __name__ == "__main__":
    unittest.main()
