"""The image: its Dockerfile without lint, a context that suffices, and the binary in the image's file layout."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import tomllib
import unittest

from dockerfile import DOCKERFILE, environment, instructions, the
from ports import free_port
from support import PATIENCE_SECONDS, ROOT, answer, fanfare, program, run

# Runs a binary of another architecture: a static program that takes the binary as its first argument.
EMULATOR = os.environ.get("FANFARE_EMULATOR")


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

    def test_labels_say_what_it_is(self):
        labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', the("LABEL")))
        workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]
        self.assertEqual(labels["licenses"], workspace["license"])
        self.assertEqual((labels["version"], labels["revision"]), ("${VERSION}", "${COMMIT}"))
        # And the binary inside says the same.
        build = [argument for name, argument in instructions(0) if name == "RUN" and "cargo build" in argument]
        self.assertIn('FANFARE_COMMIT="$COMMIT" cargo build', build[0])


def can_mount():
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return False
    return run("unshare", "--mount", "true")[0] == 0


# What gcr.io/distroless/static holds of what a program may ask for, beside time zones.
USERS = """\
root:x:0:0:root:/root:/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin
nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin
"""
GROUPS = "root:x:0:\nnobody:x:65534:\nnonroot:x:65532:\n"
AUTHORITIES = "etc/ssl/certs/ca-certificates.crt"
TOKEN = "image-image-image-image"

# Makes the layout read-only, gives it /proc as containers have it, and goes inside. Ends with its process.
ENTER = """
mount --bind "$1" "$1"
mount --bind /proc "$1/proc"
mount -o remount,bind,ro "$1"
root=$1 user=$2
shift 2
exec chroot --userspec="$user" "$root" "$@"
"""


@unittest.skipUnless(can_mount(), "needs root, and to be allowed to mount")
class Layout(unittest.TestCase):
    """The binary as it is in the image: its user and environment, on a file system that nobody can write, with no more
    than the image has. The static binary of `make image-test` is all alone there; one that cargo builds for tests brings
    the libraries that it is linked with, one for another architecture what emulates it."""

    def setUp(self):
        root = self.root = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.logs = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        shutil.copy(fanfare(), root / "fanfare")
        (root / "fanfare").chmod(0o555)
        self.entry = json.loads(the("ENTRYPOINT"))
        # What belongs to the test, and not to the image.
        self.brought = self.copy_libraries()
        if EMULATOR:
            shutil.copy(EMULATOR, root / "emulator")
            self.entry.insert(0, "/emulator")
            self.brought.add("emulator")
        for directory in ["proc", "tmp", "etc/ssl/certs", "home/nonroot"]:
            (root / directory).mkdir(parents=True)
        (root / "etc/passwd").write_text(USERS)
        (root / "etc/group").write_text(GROUPS)
        shutil.copy(f"/{AUTHORITIES}", root / AUTHORITIES)
        root.chmod(0o755)
        self.environment = environment()
        self.environment |= {"FANFARE_ADMIN_TOKEN": TOKEN, "FANFARE_DRAIN_GRACE": "200ms", "FANFARE_DRAIN_DURATION": "200ms"}
        self.ports = {}
        for name in ("LISTEN", "CONTROL_LISTEN", "ADMIN_LISTEN"):
            self.assertTrue(self.environment[f"FANFARE_{name}"].startswith("0.0.0.0:"))
            self.ports[name] = free_port("0.0.0.0")
            self.environment[f"FANFARE_{name}"] = f"0.0.0.0:{self.ports[name]}"

    def inside(self, *words):
        script = [shutil.which("unshare"), "--mount", "sh", "-ec", ENTER, "sh", str(self.root), the("USER")]
        return [*script, *self.entry, *words]

    def tell(self, *words, **environment):
        # What enters the layout needs its path; the binary inside gets no variable but these.
        return run(*self.inside(*words), env={"PATH": os.environ["PATH"], **self.environment, **environment})

    def start(self, *words, **environment):
        """Starts it, and waits until the image's own health check is content. Gives the process and its log."""
        log = self.logs / "log"
        with open(log, "w") as output:
            env = {"PATH": os.environ["PATH"], **self.environment, **environment}
            process = subprocess.Popen(self.inside(*words), env=env, stdout=output, stderr=output)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (told := self.tell(*self.probe()))[0] != 0:
            self.assertLess(time.monotonic(), deadline, told[1] + log.read_text())
            self.assertIsNone(process.poll(), log.read_text())
            time.sleep(0.1)
        return process, log

    def probe(self):
        command = the("HEALTHCHECK").split("CMD", 1)[1].replace("6003", str(self.ports["ADMIN_LISTEN"]))
        entry, *words = json.loads(command)
        self.assertEqual([entry], json.loads(the("ENTRYPOINT")))
        return words

    def test_it_is_alone(self):
        files = {path.relative_to(self.root) for path in self.root.rglob("*") if path.is_file()}
        programs = {str(path) for path in files if os.access(self.root / path, os.X_OK)} - self.brought
        self.assertEqual(programs, {"fanfare"})
        code, output = self.tell("--version")
        self.assertEqual((code, output[:8]), (0, "fanfare "), output)

    def test_it_serves_and_drains(self):
        process, log = self.start(*json.loads(the("CMD")))
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        self.assertRegex(status, r"(?m)^Uid:\s65532\s65532\s65532\s65532$")
        self.assertRegex(status, r"(?m)^CapEff:\s0+$")
        # A tenant, a message there and back, and metrics of the process, which come from /proc.
        control = f"http://127.0.0.1:{self.ports['CONTROL_LISTEN']}"
        app = ["app", "create", "--id=1", "--key-name=k", "--output=json"]
        code, output = self.tell("admin", *app, FANFARE_CONTROL_ADDRESS=control)
        self.assertEqual(code, 0, output)
        secret = json.loads(output)["key"]["secret"]
        canary = ["admin", "canary", f"http://127.0.0.1:{self.ports['LISTEN']}", "--app=1", "--key=k"]
        code, output = self.tell(*canary, FANFARE_KEY_SECRET=secret)
        self.assertEqual((code, output.count(" delivered ")), (0, 3), output)
        _, metrics = answer(f"http://127.0.0.1:{self.ports['ADMIN_LISTEN']}/metrics")
        self.assertIn("process_resident_memory_bytes ", metrics)
        process.terminate()
        self.assertEqual(process.wait(PATIENCE_SECONDS), 0, log.read_text())
        self.assertIn('"message":"drained"', log.read_text())
        self.assertNotEqual(self.tell(*self.probe())[0], 0, "the health check sees no difference")

    def test_authorities_are_found(self):
        """Webhooks and the canary trust those of the base image."""
        canary = ["admin", "canary", "https://127.0.0.1:1", "--app=1", "--key=k"]
        code, output = self.tell(*canary, FANFARE_KEY_SECRET="x")
        self.assertEqual(code, 3, output)
        (self.root / AUTHORITIES).unlink()
        code, output = self.tell(*canary, FANFARE_KEY_SECRET="x")
        self.assertEqual(code, 2, output)
        self.assertIn("this system trusts no authority", output)

    def test_nothing_can_be_written(self):
        code, output = self.tell("run", "--data-dir", "/home/nonroot/data")
        self.assertEqual(code, 1, output)
        self.assertIn("Read-only file system", output)

    def copy_libraries(self):
        """What the binary is linked with, unless it is static; the paths below the root."""
        _, output = run("ldd", fanfare())
        found = set(re.findall(r"(/\S+) \(0x", output))
        for library in found:
            target = self.root / library.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)
        if os.environ.get("FANFARE_STATIC"):
            self.assertEqual(found, set(), "the image's binary is to be static")
        return {library.lstrip("/") for library in found}


if __name__ == "__main__":
    unittest.main()
