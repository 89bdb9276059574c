#!/usr/bin/env python3
"""Reports files over 600 lines, headers over 300 and functions over 70, which may do too much.

It only reports: the exit status is always 0. A function is counted from a line in column 0 or 2
that ends with its opening brace, to the closing brace in the same column.
"""

import re
import subprocess

LIMITS = {".cc": 600, ".h": 300}
FUNCTION = 70


def functions(lines):
    """Yields (first line, length) of each function body that it recognizes."""
    begin, indent = None, ""
    for number, line in enumerate(lines, 1):
        if begin is None and re.match(r"( {0,2})[\w~].*\) ?(const|override|noexcept| )*\{$", line):
            begin, indent = number, re.match(r" *", line).group()
        elif begin is None and re.match(r" {4,}.*\) ?(const|override|noexcept| )*\{$", line):
            continue
        elif begin is not None and line.rstrip() == indent + "}":
            yield begin, number - begin + 1
            begin = None


def main():
    listed = subprocess.run(["git", "ls-files", "*.h", "*.cc"], check=True, capture_output=True,
                            text=True).stdout.split()
    for path in listed:
        with open(path, encoding="utf-8") as file:
            lines = file.read().split("\n")
        limit = LIMITS[path[path.rindex("."):]]
        if len(lines) > limit:
            print("note: %s has %d lines (the limit is %d)" % (path, len(lines), limit))
        for begin, length in functions(lines):
            if length > FUNCTION:
                print("note: %s:%d: a function of %d lines (the limit is %d)" % (
                    path, begin, length, FUNCTION))


if __name__ == "__main__":
    main()
