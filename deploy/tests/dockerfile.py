"""The Dockerfile, read.

    dockerfile.py build-environment    the variables of the build, as a shell takes them
"""

import pathlib
import re
import shlex
import sys

DOCKERFILE = pathlib.Path(__file__).resolve().parents[1] / "docker/Dockerfile"


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


def the(name, stage=-1):
    """The argument of an instruction that stands once in a stage."""
    found = [argument for instruction, argument in instructions(stage) if instruction == name]
    assert len(found) == 1, f"{name}: {found}"
    return found[0]


def environment(stage=-1):
    """The variables that a stage sets."""
    return dict(pair.split("=", 1) for pair in shlex.split(the("ENV", stage)))


if __name__ == "__main__":
    assert sys.argv[1:] == ["build-environment"], __doc__
    print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in environment(0).items()))
