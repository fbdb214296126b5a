#!/usr/bin/env python3
"""Takes the fragments in changelog.d/ up into CHANGELOG.md, as the notes of a release, and removes them.

changelog.py VERSION DATE    the notes of 0.2.0 2027-01-15, say
changelog.py --check         exits with 1 if a fragment cannot be taken up"""

import pathlib
import re
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parents[2]
KINDS = ("added", "changed", "fixed")


def fragments(root):
    """The paths of all fragments by kind, and complaints about what is none."""
    found, wrong = {kind: [] for kind in KINDS}, []
    for path in sorted((root / "changelog.d").iterdir()):
        if path.name == "README.md":
            continue
        match = re.fullmatch(rf"[\w-]+\.({'|'.join(KINDS)})\.md", path.name)
        text = path.read_text().strip()
        if not match:
            wrong.append(f"{path.name}: the name has to be WORDS.added.md, WORDS.changed.md or WORDS.fixed.md")
        elif not text or "\n\n" in text or text.startswith(("#", "-")):
            wrong.append(f"{path.name}: one paragraph of plain sentences, please")
        else:
            found[match[1]].append(path)
    return found, wrong


def notes(found, title):
    """The section of a release."""
    lines = [f"## {title}", ""]
    for kind, paths in found.items():
        if paths:
            lines += [f"### {kind.capitalize()}", ""]
            for path in paths:
                words = " ".join(path.read_text().split())
                lines += textwrap.wrap(words, 118, initial_indent="- ", subsequent_indent="  ",
                                       break_long_words=False, break_on_hyphens=False)
            lines.append("")
    return "\n".join(lines) + "\n"


def release(root, version, date):
    found, wrong = fragments(root)
    if wrong:
        return wrong
    if not any(found.values()):
        return ["there are no fragments"]
    path = root / "CHANGELOG.md"
    before, heading, after = path.read_text().partition("\n## ")
    path.write_text(f"{before}\n{notes(found, f'{version} ({date})')}{heading[1:]}{after}")
    for paths in found.values():
        for path in paths:
            path.unlink()
    return []


def main(arguments):
    if arguments == ["--check"]:
        wrong = fragments(ROOT)[1]
    elif len(arguments) == 2:
        wrong = release(ROOT, *arguments)
    else:
        sys.exit(__doc__)
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
