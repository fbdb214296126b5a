"""The pages for operators: all in the index, links that lead somewhere, and no setting or metric that there is not."""

import re
import shlex
import unittest

from support import ROOT, catalogue, fanfare, load, run

PAGES = ROOT / "docs" / "operations"


def pages():
    return {str(path.relative_to(PAGES)): path.read_text() for path in sorted(PAGES.rglob("*.md"))}


def headings(text):
    """The anchors of a page, made as GitHub does."""
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def values(tree, path=""):
    """Every path in the chart's values."""
    for key, value in tree.items():
        yield f"{path}{key}"
        if isinstance(value, dict):
            yield from values(value, f"{path}{key}.")


class Operations(unittest.TestCase):
    def test_the_index_has_every_page(self):
        index = (PAGES / "README.md").read_text()
        for path in sorted(PAGES.glob("*.md")):
            if path.name != "README.md":
                with self.subTest(page=path.name):
                    self.assertIn(f"]({path.name})", index)

    def test_links_lead_somewhere(self):
        for name, text in pages().items():
            for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)]*))?\)", text):
                with self.subTest(page=name, link=f"{target}#{anchor}"):
                    path = (PAGES / name).parent / target if target else PAGES / name
                    self.assertTrue(path.exists())
                    if anchor:
                        self.assertTrue(anchor in headings(path.read_text()), "no such heading")

    def test_settings_named_are_settings(self):
        code, text = run(fanfare(), "config", "docs")
        self.assertEqual(code, 0, text)
        keys = set(re.findall(r"^### `([\w.]+)`", text, re.M)) | set(re.findall(r"^or `([\w.]+)`", text, re.M))
        tables = {key.split(".")[0] for key in keys if "." in key}
        known = keys | set(values(load(ROOT / "helm" / "fanfare" / "values.yaml")))
        for name, text in pages().items():
            for setting in re.findall(r"`(\w+(?:\.\w+)+)(?: = [^`]*)?`", text):
                if setting.split(".")[0] in tables and not re.search(r"\.(?:toml|conf|pem|creds|proto)$", setting):
                    with self.subTest(page=name, setting=setting):
                        self.assertTrue(setting in known, "neither a setting nor a value of the chart")

    def test_commands_named_are_commands(self):
        """Those of runbooks are run; of these it is looked at whether the binary knows them."""
        papers = ["README.md", "helm/fanfare/README.md", "helm/fanfare/UPGRADING.md", *map("deploy/{}/README.md".format, ("compose", "nats", "systemd"))]
        texts = pages() | {paper: (ROOT / paper).read_text() for paper in papers}
        seen = 0
        for name, text in texts.items():
            fenced = re.findall(r"^ *```(?:sh)?\n(.*?)^ *```", text, re.M | re.S)
            indented = re.findall(r"^ {4}(fanfare .*(?:\\\n.*)*)", text, re.M)
            code = re.sub(r"\\\n\s*", " ", "\n".join(fenced + indented))
            for command in re.findall(r"(?:^ *|[|;&$(] *)(fanfare (?:\"[^\"\n]*\"|[^|;&)#><\n])*)", code, re.M):
                with self.subTest(page=name, command=command):
                    exit_code, output = run(fanfare(), *shlex.split(command)[1:], "--help")
                    self.assertEqual(exit_code, 0, output)
                    seen += 1
        self.assertGreater(seen, 25)

    def test_metrics_named_are_in_the_catalogue(self):
        families = set(catalogue()) | {re.sub(r"_(bucket|sum|count)$", "", series) for series in catalogue()}
        for name, text in pages().items():
            for metric in re.findall(r"`((?:fanfare|process)_\w+)", text):
                with self.subTest(page=name, metric=metric):
                    self.assertTrue(metric in families, "not in the catalogue")


if __name__ == "__main__":
    unittest.main()
