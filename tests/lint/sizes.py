#!/usr/bin/env python3
"""Fails on files over 600 lines, headers over 300, functions over 70 and a loop over 250, which may do
too much.

A function is counted from the line that begins its signature, in column 0 or 2, to the closing
brace in the same column.
"""

import re
import subprocess
import sys

LIMITS = {".cc": 600, ".h": 300}
FUNCTION = 70
LOOP = ["server/loop.h", "server/loop.cc"]  # it only collects events; the rest is the member's
LOOP_LIMIT = 250


def functions(lines):
    """Yields (first line, length) of each function body that it recognizes."""
    begin, indent = None, ""  # of the function that is being read
    head = 0                  # the last line in column 0 or 2: a signature may go on after it
    for number, line in enumerate(lines, 1):
        if begin is not None:
            if line.rstrip() == indent + "}":
                yield begin, number - begin + 1
                begin = None
            continue
        if re.match(r" {0,2}[\w~]", line):
            head = number
            if re.match(r" *(class|struct|enum|namespace)\b", line):
                head = 0  # the methods of a nested class are not counted
        signature = lines[head - 1]
        if head and re.search(r"\) ?(const|override|noexcept| )*\{$", line) \
                and "](" not in signature and "] (" not in signature:
            begin, indent = head, re.match(r" *", signature).group()


def main():
    """Returns how many files and functions are too large."""
    found = 0
    loop = 0
    listed = subprocess.run(["git", "ls-files", "*.h", "*.cc"], check=True, capture_output=True,
                            text=True).stdout.split()
    for path in listed:
        with open(path, encoding="utf-8") as file:
            lines = file.read().split("\n")
        if lines[-1] == "":
            lines.pop()
        loop += len(lines) if path in LOOP else 0
        limit = LIMITS[path[path.rindex("."):]]
        if len(lines) > limit:
            print("      %s has %d lines (the limit is %d)" % (path, len(lines), limit))
            found += 1
        for begin, length in functions(lines):
            if length > FUNCTION:
                print("      %s:%d: a function of %d lines (the limit is %d)" % (
                    path, begin, length, FUNCTION))
                found += 1
    if loop > LOOP_LIMIT:
        print("      %s have %d lines (the limit is %d)" % (" and ".join(LOOP), loop, LOOP_LIMIT))
        found += 1
    return found


if __name__ == "__main__":
    sys.exit(main() > 0)
