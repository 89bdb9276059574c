#!/usr/bin/env python3
"""Who may include whom: the plan of the house (docs/architecture.md) as a check.

Usage: arrows.py [ROOT]. Prints one line for each breach; exit status 1 if there is any.
arrows_test.py plants mistakes and sees that they are found.
"""

import os
import re
import subprocess
import sys

# Room -> the project's other rooms and the outside libraries it may include. A file belongs to the
# longest room that its path starts with; its own room, std and abseil are always allowed.
#   raft <- codec <- storage <- replica <- {peer, watch, lease, api} <- server
ROOMS = {
    "config/": "lib:toml lib:openssl",
    "proto/": "server/raft/ lib:protobuf",
    "server/raft/": "lib:glog",
    "storage/": "server/raft/types.h server/raft/message.h server/raft/log_reader.h "
                "server/raft/check.h server/raft/mutant.h proto/ lib:protobuf lib:glog",
    "server/replica/": "server/raft/ proto/ storage/ lib:protobuf lib:glog",
    "server/rpc/": "proto/ lib:protobuf lib:grpc lib:glog",
    "server/peer/": "config/ proto/ storage/ server/raft/ server/replica/ server/rpc/ "
                    "lib:protobuf lib:grpc lib:glog",
    "server/watch/": "config/ proto/ storage/ server/raft/ server/replica/ server/rpc/ "
                     "lib:protobuf lib:grpc lib:glog",
    "server/lease/": "config/ proto/ storage/ server/raft/ server/replica/ server/rpc/ "
                     "lib:protobuf lib:grpc lib:glog",
    # server/loop.h: an RPC hands its work to the loop.
    "server/api/": "config/ proto/ storage/ server/raft/ server/replica/ server/rpc/ server/watch/ "
                   "server/lease/ server/loop.h lib:protobuf lib:grpc lib:glog",
    "server/": "server/ config/ proto/ storage/ lib:protobuf lib:grpc lib:glog lib:cli",
    "client/": "proto/etcd/ lib:protobuf lib:grpc lib:glog lib:cli lib:json",
    "tests/": "config/ proto/ storage/ server/ client/ tests/ "
              "lib:protobuf lib:grpc lib:glog lib:cli lib:json lib:gtest",
    "tests/storage/": "config/ proto/ storage/ server/ tests/ "
                      "lib:rocksdb lib:protobuf lib:glog lib:json lib:gtest",
    "tests/compat/": "proto/ tests/ lib:protobuf lib:grpc lib:glog lib:gtest lib:toml",
    "tests/sim/": "config/ proto/ storage/ server/raft/ server/replica/ tests/ "
                  "lib:protobuf lib:glog lib:cli lib:gtest",
}
# RocksDB has a room of its own inside storage/.
ROCKS = re.compile(r"storage/rocks_\w+\.(h|cc)$")

LIBRARIES = {  # the first that fits
    "rocksdb": r"rocksdb/", "grpc": r"grpc|.*\.grpc\.pb\.h", "protobuf": r"google/|.*\.pb\.h",
    "glog": r"glog/", "toml": r"toml\+\+/", "openssl": r"openssl/", "cli": r"CLI/",
    "json": r"nlohmann/", "gtest": r"g(test|mock)/",
}

# Where a seed must replay byte for byte: no thread, lock, clock, random device, or order that
# differs from run to run. Looked for in includes and in code.
DETERMINISTIC = ("server/raft/", "server/replica/", "storage/", "tests/sim/")
CHANCE = re.compile(
    r"#include <(thread|mutex|shared_mutex|condition_variable|future|chrono|random|ctime|time\.h"
    r"|atomic|unordered_map|unordered_set|pthread\.h)>"
    r'|#include "absl/(synchronization/|random/|time/clock\.h|container/(flat|node)_hash)'
    r"|\b(absl::(Now|BitGen|Mutex|SleepFor|(flat|node)_hash_\w+)|std::unordered_\w+"
    r"|std::(random_device|mt19937|chrono|thread|mutex|async)|rand\(|time\((0|nullptr|NULL)\))")
MAY_CHANCE = {
    "storage/rocks_engine.h": "talks to RocksDB's threads; the simulator never sees it",
    "storage/rocks_engine.cc": "the same",
    "storage/memory_engine.h": "a lock, because worker threads read pinned snapshots",
    "storage/memory_engine.cc": "the same",
    "storage/published.h": "a lock, because any thread takes snapshots; one thread in a simulation",
    "storage/mvcc/writer.h": "a hash map looked up by key, never iterated",
    "storage/mvcc/writer.cc": "the same",
    "storage/watermark.h": "a clock that only spaces out fdatasync; real disks only",
    "storage/watermark.cc": "the same",
    "server/replica/handed_over.h": "a flag that the applier's thread sets; one thread in a simulation",
    "tests/sim/main.cc": "spreads seeds over cores and draws fresh ones; a run knows nothing of it",
}

SILENT = ("server/raft/", "server/replica/")  # they tell by events, never by log lines
LOG_LINE = re.compile(r"\b(LOG|VLOG|PLOG|DLOG)(_IF|_EVERY_N)?\(")


def room_of(path):
    return max((room for room in ROOMS if path.startswith(room)), key=len, default=None)


def library_of(header):
    return next((name for name, form in LIBRARIES.items() if re.match(form, header)), None)


def include_fault(path, header):
    """What is wrong with this include, or None."""
    room = room_of(path)
    if room is None:
        return None
    allowed = ROOMS[room].split()
    library = library_of(header)
    if library == "rocksdb" and ROCKS.match(path):
        library = None
    if library and "lib:" + library not in allowed:
        return "%s may not use %s (%s)" % (room, library, header)
    if re.match(r"(config|proto|server|storage|client|tests)/", header):
        if room_of(header) != room and not any(header.startswith(to) for to in allowed):
            return "%s may not include %s" % (room, header)
    return None


def line_faults(path, line):
    include = re.match(r'#include\s+["<]([^">]+)[">]', line)
    if include:
        fault = include_fault(path, include.group(1))
        if fault:
            yield fault
    code = line if include else re.sub(r'"(\\.|[^"\\])*"', '""', line.split("//")[0])
    if path.startswith(DETERMINISTIC) and path not in MAY_CHANCE and CHANCE.search(code):
        yield "would make runs differ: " + CHANCE.search(code).group()
    if path.startswith(SILENT) and LOG_LINE.search(code):
        yield "no log lines here; tell it by an event"


def faults(root, paths):
    """Yields "path:line: what" for each breach."""
    for path in sorted(paths):
        with open(os.path.join(root, path), encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                for fault in line_faults(path, line):
                    yield "%s:%d: %s" % (path, number, fault)


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else "."
    listed = subprocess.run(
        ["git", "-C", root, "ls-files", "--cached", "--others", "--exclude-standard", "*.h", "*.cc"],
        check=True, capture_output=True, text=True).stdout.split()
    found = list(faults(root, [p for p in listed if os.path.exists(os.path.join(root, p))]))
    for fault in found:
        print(fault)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
