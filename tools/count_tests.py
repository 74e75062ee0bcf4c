#!/usr/bin/env python3
"""Counts what a Meson test run did, case by case, and names what failed.

usage: count_tests.py BUILD/meson-logs/testlog.json   prints "PASSED FAILED SKIPPED"

A cmocka program runs many cases and says how many in its output; any other program counts as one.
"""
import json
import re
import sys

PASSED = re.compile(r"\[  PASSED  \] (\d+) test")
FAILED = re.compile(r"\[  FAILED  \] (\d+) test")
SKIPPED = re.compile(r"\[  SKIPPED \] (\d+) test")


def cases(pattern, output):
    return sum(int(n) for n in pattern.findall(output))


def count(test):
    output = test.get("stdout", "") + test.get("stderr", "")
    passed, failed, skipped = (cases(p, output) for p in (PASSED, FAILED, SKIPPED))
    if test["result"] in ("OK", "EXPECTEDFAIL"):
        return (passed or 1, 0, skipped)
    if test["result"] == "SKIP":
        return (0, 0, 1)
    return (passed, failed or 1, skipped)


def main():
    total = [0, 0, 0]
    with open(sys.argv[1], encoding="utf-8") as log:
        for line in log:
            test = json.loads(line)
            counted = count(test)
            total = [a + b for a, b in zip(total, counted)]
            if counted[1]:
                print(f'FAILED {test["name"]} ({test["result"]})', file=sys.stderr)
                tail = (test.get("stdout", "") + test.get("stderr", "")).split("\n")[-40:]
                print("    " + "\n    ".join(tail), file=sys.stderr)
    print(*total)


if __name__ == "__main__":
    main()
