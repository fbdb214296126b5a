#!/usr/bin/env python3
"""Runs the tests beside this file, a line each, and prints what was counted as its last line."""

import pathlib
import sys
import unittest


class Lines(unittest.TestResult):
    """A line for each test, and after the name of one that failed why."""

    passed = 0

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1
        print(f"ok {test.id()}", flush=True)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        print(f"skipped {test.id()}: {reason}", flush=True)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.tell(test, error)

    def addError(self, test, error):
        super().addError(test, error)
        self.tell(test, error)

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error:
            self.tell(subtest, error)

    def tell(self, test, error):
        print(f"not ok {test.id()}\n{self._exc_info_to_string(error, test)}", flush=True)


def main():
    here = pathlib.Path(__file__).resolve().parent
    result = Lines()
    unittest.defaultTestLoader.discover(str(here)).run(result)
    failed = len(result.failures) + len(result.errors)
    print(f"{result.passed} passed, {failed} failed")
    sys.exit(0 if result.passed and not failed else 1)


main()
