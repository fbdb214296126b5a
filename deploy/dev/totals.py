#!/usr/bin/env python3
"""Reads the log of a test run: what each part counted and the totals, or what failed and why.

totals.py NAME LOG              a line for each part, then `total PASSED FAILED`
totals.py --failures NAME LOG   the parts of the log that tell of failures

Understands cargo test, the runner of node in both of its forms, and a last line `N passed, M failed`."""

import re
import sys

CARGO_PART = re.compile(r"^\s+(?:Running (?:unittests )?\S+ \(\S*/([\w-]+)-[0-9a-f]+\)|Doc-tests (\S+))")
CARGO_RESULT = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored")
NODE_COUNT = re.compile(r"^(?:#|ℹ) (pass|fail|cancelled|skipped|todo) (\d+)$")
PLAIN = re.compile(r"^(\d+) passed, (\d+) failed$")


def parts(lines):
    """(part, passed, failed, skipped) of each part that counted something."""
    part, node = None, {}
    for line in lines:
        if match := CARGO_PART.match(line):
            part = match[1] or f"{match[2]} (documentation)"
        elif match := CARGO_RESULT.match(line):
            yield part, *map(int, match.groups())
        elif match := NODE_COUNT.match(line):
            node[match[1]] = node.get(match[1], 0) + int(match[2])
    if lines and (match := PLAIN.match(lines[-1])):
        yield None, int(match[1]), int(match[2]), 0
    if node:
        skipped = node.get("skipped", 0) + node.get("todo", 0)
        yield None, node.get("pass", 0), node.get("fail", 0) + node.get("cancelled", 0), skipped


def print_totals(name, lines):
    passed_total = failed_total = 0
    for part, passed, failed, skipped in parts(lines):
        passed_total, failed_total = passed_total + passed, failed_total + failed
        if part and passed + failed + skipped:
            note = f", {skipped} skipped" if skipped else ""
            print(f"  {name} {part}: {passed} passed, {failed} failed{note}")
    print(f"total {passed_total} {failed_total}")


def print_failures(lines):
    """Cargo repeats failures with their output between `failures:` and the result; node marks them."""
    shown, inside = 0, False
    for index, line in enumerate(lines):
        if line.startswith("failures:") or re.match(r"^\s*(not ok|✖)|^(FAIL|ERROR): ", line):
            inside, last = True, index + 60
        if inside:
            print(f"    {line}")
            shown += 1
            inside = index < last and not line.startswith("test result:")
        if shown > 400:
            print("    …")
            return
    if not shown:
        print("\n".join(f"    {line}" for line in lines[-60:]))


def main():
    arguments = sys.argv[1:]
    failures = arguments[0] == "--failures"
    name, path = arguments[-2:]
    with open(path, encoding="utf-8", errors="replace") as log:
        lines = log.read().splitlines()
    print_failures(lines) if failures else print_totals(name, lines)


main()
