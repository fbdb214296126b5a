"""SECURITY.md, CONTRIBUTING.md and the changelog with its fragments."""

import pathlib
import re
import shutil
import sys
import tempfile
import tomllib
import unittest

from support import ROOT, run

PAPERS = ("SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "changelog.d/README.md", "deploy/nats/README.md",
          "deploy/systemd/README.md", "deploy/compose/README.md")


class Papers(unittest.TestCase):
    def setUp(self):
        """A repository with nothing but what the changelog is made of."""
        self.root = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        (self.root / "deploy" / "dev").mkdir(parents=True)
        (self.root / "changelog.d").mkdir()
        self.script = shutil.copy(ROOT / "deploy" / "dev" / "changelog.py", self.root / "deploy" / "dev")
        shutil.copy(ROOT / "changelog.d" / "README.md", self.root / "changelog.d")
        (self.root / "CHANGELOG.md").write_text("# Changelog\n\nWords.\n\n## 0.1.0 (2026-12-01)\n\n### Added\n\n- All.\n")

    def fragment(self, name, text):
        (self.root / "changelog.d" / name).write_text(text)

    def test_links_lead_somewhere(self):
        for paper in PAPERS:
            for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / paper).read_text()):
                with self.subTest(paper=paper, link=target):
                    self.assertTrue(((ROOT / paper).parent / target).exists())

    def test_targets_named_are_in_the_makefile(self):
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
        named = set(re.findall(r"make ([a-z-]+)", (ROOT / "CONTRIBUTING.md").read_text()))
        self.assertTrue(named)
        self.assertEqual(named - targets, set())

    def test_newest_notes_are_of_this_version(self):
        version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
        sections = re.findall(r"^## (\S+) \(", (ROOT / "CHANGELOG.md").read_text(), re.M)
        self.assertEqual(sections[0], version)
        for heading in re.findall(r"^### (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.M):
            self.assertIn(heading, ("Added", "Changed", "Fixed"))

    def test_fragments_here_can_be_taken_up(self):
        code, output = run(sys.executable, str(ROOT / "deploy" / "dev" / "changelog.py"), "--check")
        self.assertEqual(code, 0, output)

    def test_a_release_takes_fragments_up(self):
        self.fragment("quiet.fixed.md", "Clients that\nare quiet stay.\n")
        self.fragment("new-thing.added.md", "A new thing.\n")
        code, output = run(sys.executable, self.script, "0.2.0", "2027-01-15")
        self.assertEqual(code, 0, output)
        self.assertEqual((self.root / "CHANGELOG.md").read_text(), """# Changelog

Words.

## 0.2.0 (2027-01-15)

### Added

- A new thing.

### Fixed

- Clients that are quiet stay.

## 0.1.0 (2026-12-01)

### Added

- All.
""")
        self.assertEqual([path.name for path in (self.root / "changelog.d").iterdir()], ["README.md"])

    def test_what_is_no_fragment_is_refused_and_nothing_changes(self):
        before = (self.root / "CHANGELOG.md").read_text()
        for name, text in (("thing.md", "A thing."), ("thing.removed.md", "A thing."), ("thing.added.md", "# A thing"), ("thing.fixed.md", " ")):
            with self.subTest(name=name):
                self.fragment(name, text)
                for arguments in (["--check"], ["0.2.0", "2027-01-15"]):
                    code, output = run(sys.executable, self.script, *arguments)
                    self.assertEqual(code, 1)
                    self.assertIn(name, output)
                self.assertEqual((self.root / "CHANGELOG.md").read_text(), before)
                (self.root / "changelog.d" / name).unlink()
        code, output = run(sys.executable, self.script, "0.2.0", "2027-01-15")
        self.assertEqual((code, output), (1, "there are no fragments\n"))


if __name__ == "__main__":
    unittest.main()
