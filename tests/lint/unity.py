#!/usr/bin/env python3
"""Finds names that two sources of one CMake target define in anonymous namespaces, and that clash
once a unity build compiles the two together. That may be much later, when a file is added.

Prints one line for each clash; exit status 1 if there is any. It knows definitions that begin in
column 0. Functions with different parameters do not clash, nor does a function with a type.
unity_test.py checks that clashes are found.
"""

import os
import re
import subprocess
import sys

SIMULATED = ("raftkv_raft", "raftkv_member", "raftkv_state", "raftkv_watch")  # see tests/sim
TYPE = re.compile(r"(?:class|struct|enum class|enum) (\w+)(?! *;)")
OTHER = re.compile(r"(?!using |namespace |class |struct |enum )\w[\w:<>,*& ]*?[ *&](\w+) ?"
                   r"(\(.*?\) (?=\{|const|noexcept)|[\[{=;])", re.S)


def definitions(text):
    """Yields (namespace, name, kind) of each definition in an anonymous namespace. The kind of a
    function is the list of its parameters' types; that of an alias is what it stands for."""
    spaces = []
    for line in re.finditer(r"^.*$", text, re.M):
        if opened := re.match(r"(?:inline )?namespace(?: ([\w:]+))? \{", line.group()):
            spaces.append(opened.group(1))
        elif line.group().startswith("}  // namespace"):
            spaces.pop()
        elif None in spaces and (alias := re.match(r"using (\w+) = (.*)", line.group())):
            yield "::".join(filter(None, spaces)), alias.group(1), "= " + alias.group(2)
        elif None in spaces and (
                found := TYPE.match(line.group()) or OTHER.match(text, line.start())):
            kind = "type" if found.re is TYPE else "variable"
            if kind == "variable" and found.group(2)[0] == "(":
                types = re.sub(r" *=[^,]*(?=,)", "", found.group(2)[1:-2] + ",")  # no defaults
                kind = "(" + re.sub(r"([\w>][*& ]+)\w+(?=,)|\s", r"\1", types).replace(" ", "")
            yield "::".join(filter(None, spaces)), found.group(1), kind


def clash(kind, other):
    if kind[0] == "=" or other[0] == "=":
        return kind != other
    return kind == other or "variable" in (kind, other)


def targets(folder, text):
    """Yields (target, its sources) of a CMakeLists.txt, without those outside of unity builds."""
    text = re.sub(r"#.*", "", text).replace("${PROJECT_SOURCE_DIR}/", "/")
    excluded = re.findall(r"\((\S+) PROPERTIES (?:SKIP_UNITY_BUILD_INCLUSION ON|UNITY_BUILD OFF)",
                          text)
    for name, words in re.findall(r"(?:add_library|add_executable|set)\((\S+)\s([^()]*)\)", text):
        sources = [word for word in re.findall(r"[\w./]+\.cc\b", words) if word not in excluded]
        if name not in excluded:
            yield name.replace("state_sources", "raftkv_state"), [
                word[1:] if word[0] == "/" else os.path.normpath(os.path.join(folder, word))
                for word in sources]


def faults(all_targets, text_of):
    """Yields one line for each clash."""
    simulated = [s for name, sources in all_targets if name in SIMULATED for s in sources]
    for target, sources in all_targets:
        first = {}
        for source in sources + (simulated if target == "raftkv_sim_world" else []):
            for space, name, kind in definitions(text_of(source)):
                for other_kind, other in first.setdefault((space, name), []):
                    if other != source and clash(kind, other_kind):
                        yield "%s: %s is also defined in %s (target %s)" % (
                            source, name, other, target)
                first[space, name].append((kind, source))


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def main():
    listed = subprocess.run(["git", "ls-files", "*CMakeLists.txt"], check=True, capture_output=True,
                            text=True).stdout.split()
    found = sorted(set(faults([(name, list(filter(os.path.exists, sources))) for path in listed
                               for name, sources in targets(os.path.dirname(path), read(path))], read)))
    for fault in found:
        print(fault)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
