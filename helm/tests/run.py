#!/usr/bin/env python3
"""Runs all tests here, or those in the files of a pattern, and prints what was counted as its last line."""

import pathlib
import sys
import unittest


def main():
    here = str(pathlib.Path(__file__).parent)
    # Where free ports are chosen, for the tests of deploy/ too.
    sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "deploy" / "tests"))
    pattern = sys.argv[1] if len(sys.argv) > 1 else "test*.py"
    tests = unittest.defaultTestLoader.discover(here, pattern, top_level_dir=here)
    result = unittest.TextTestRunner(verbosity=1).run(tests)
    # Several parts of one test may fail; it is one test.
    broken = {str(getattr(test, "test_case", test)) for test, _ in result.failures + result.errors}
    sys.stderr.flush()
    print(f"{max(result.testsRun - len(broken), 0)} passed, {len(broken)} failed", flush=True)
    return 0 if result.wasSuccessful() and result.testsRun else 1


sys.exit(main())
