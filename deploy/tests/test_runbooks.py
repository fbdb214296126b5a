"""The runbooks: one for each alert, in one shape, and no command in them that the binary does not know."""

import re
import shlex
import unittest

from support import RUNBOOKS, alerts, check_queries, fanfare, mistakes_in_query, run

HEADINGS = ["What the user sees", "How to confirm", "How to stop the harm", "How to fix", "How to prevent"]


def pages():
    return {path.name: path.read_text() for path in sorted(RUNBOOKS.glob("*.md")) if path.name != "README.md"}


def code(text, language):
    """The lines of all blocks of code in a language."""
    blocks = re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.M | re.S)
    return [line for block in blocks for line in re.sub(r"\\\n\s*", " ", block).splitlines() if line.strip()]


class Runbooks(unittest.TestCase):
    def test_every_alert_has_one_and_every_one_an_alert(self):
        wanted = {alert["annotations"]["runbook_url"].rsplit("/", 1)[1] for alert in alerts()}
        self.assertEqual(set(pages()), wanted)

    def test_the_index_lists_every_alert(self):
        index = (RUNBOOKS / "README.md").read_text()
        for alert in alerts():
            page = alert["annotations"]["runbook_url"].rsplit("/", 1)[1]
            self.assertIn(f"[{alert['alert']}]({page})", index)

    def test_all_have_the_same_five_headings(self):
        for name, text in pages().items():
            with self.subTest(page=name):
                self.assertEqual(re.findall(r"^## (.*)$", text, re.M), HEADINGS)
                for part in re.split(r"^## .*$", text, flags=re.M)[1:]:
                    self.assertTrue(part.strip(), "nothing under a heading")

    def test_links_lead_somewhere(self):
        for name, text in pages().items() | {("README.md", (RUNBOOKS / "README.md").read_text())}:
            for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
                with self.subTest(page=name, link=target):
                    self.assertTrue((RUNBOOKS / target).exists())

    def test_every_fanfare_command_is_one(self):
        seen = set()
        for name, text in pages().items():
            for line in code(text, "sh"):
                for command in re.findall(r"(?:^|[|;&$(]\s*)(fanfare [^|;&)#]*)", line):
                    words = shlex.split(command.strip())[1:]
                    seen.add(tuple(words))
                    with self.subTest(page=name, command=command):
                        # With --help last nothing is done, but what comes before it has to be known.
                        exit_code, output = run(fanfare(), *words, "--help")
                        self.assertEqual(exit_code, 0, output)
        self.assertGreater(len(seen), 10)

    def test_every_query_asks_for_what_there_is(self):
        for name, text in pages().items():
            for query in code(text, "promql"):
                with self.subTest(page=name, query=query):
                    self.assertEqual(mistakes_in_query(query), [])

    def test_every_query_parses(self):
        queries = [query for text in pages().values() for query in code(text, "promql")]
        self.assertGreater(len(queries), 20)
        exit_code, output = check_queries(queries)
        self.assertEqual(exit_code, 0, output)

    def test_pages_are_of_a_width(self):
        for name, text in pages().items():
            for number, line in enumerate(text.splitlines(), 1):
                if not line.startswith("|"):
                    self.assertLessEqual(len(line), 120, f"{name}:{number}")


if __name__ == "__main__":
    unittest.main()
