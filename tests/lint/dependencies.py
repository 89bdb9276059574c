#!/usr/bin/env python3
"""Checks which module includes which, and that docs/architecture.md says the same. Also checks that
deterministic code has no source of randomness, and that server/raft and server/member write no log
lines.

Usage: dependencies.py [ROOT]. Prints one line for each violation; exit status 1 if there is any.
dependencies_test.py checks that violations are found.
"""

import os
import re
import subprocess
import sys

# For each module: the other modules and the outside libraries that it may include. A file belongs
# to the module with the longest path that its own path starts with. Its own module, the standard
# library and abseil are always allowed. A path allows everything below it, except what a path with
# "!" excludes.
#   storage/base <- engine <- log <- rules <- mvcc <- tables <- storage <- storage/data_dir
#   storage <- server/raft <- server/member <- {peer, watch, api} <- server
# Of storage, server/raft includes only the log's interface and storage/base. storage includes
# nothing of server/.
MODULES = {
    "config/": "lib:toml lib:openssl",
    "proto/": "lib:protobuf",
    "storage/base/": "lib:glog lib:sodium",
    "storage/engine/": "storage/base/ lib:glog",
    "storage/log/": "storage/base/ storage/engine/ lib:glog",
    "storage/backup/": "storage/base/ proto/ lib:openssl lib:protobuf",
    "storage/rules/": "storage/base/ storage/log/entry.h proto/ lib:protobuf lib:glog",
    "storage/mvcc/": "storage/base/ storage/engine/ storage/log/entry.h storage/rules/ proto/ "
                     "lib:protobuf lib:glog",
    "storage/tables/": "storage/base/ storage/engine/ storage/log/entry.h storage/rules/ "
                       "storage/mvcc/ proto/ lib:protobuf lib:glog",
    "storage/": "storage/base/ storage/engine/ storage/log/ storage/rules/ storage/mvcc/ "
                "storage/tables/ proto/ lib:protobuf lib:glog",
    "storage/data_dir/": "storage/ proto/ lib:protobuf lib:glog",
    "server/raft/": "storage/base/ storage/log/entry.h storage/log/log_reader.h",
    "server/member/": "server/raft/ proto/ storage/ !storage/data_dir/ server/phase.h lib:protobuf lib:glog",
    "server/rpc/": "proto/ storage/base/ lib:protobuf lib:glog",
    "server/port/": "proto/ storage/base/ server/rpc/ server/clock.h server/workers.h lib:protobuf lib:glog "
                     "lib:nghttp2 lib:boost",
    "server/peer/": "proto/ storage/ server/raft/ server/member/ server/rpc/ "
                    "server/workers.h server/clock.h server/phase.h "
                    "lib:protobuf lib:grpc lib:glog lib:nghttp2",
    "server/watch/": "proto/ storage/ !storage/data_dir/ lib:protobuf lib:glog",
    # server/workers.h, server/disk_readers.h: reads run on other threads.
    "server/api/": "config/ proto/ storage/ server/member/ server/rpc/ server/watch/ "
                   "server/workers.h server/disk_readers.h server/clock.h server/phase.h "
                   "lib:protobuf lib:glog",
    # A member within another program, and its client.
    "server/embedded/": "server/ config/ client/clock.h client/failure.h client/impl.h "
                        "client/raftkv.h",
    "server/": "server/ !server/embedded/ config/ proto/ storage/ lib:protobuf lib:grpc lib:glog lib:cli lib:json lib:prometheus",
    # storage/backup: the file of a backup; it needs no database.
    "client/": "config/edit_distance.h config/process.h config/url.h config/version.h proto/etcd/ "
               "storage/backup/ storage/base/files.h storage/base/monotonic_time.h "
               "lib:protobuf lib:grpc lib:glog lib:cli lib:json lib:boost lib:nghttp2",
    "tests/": "config/ proto/ storage/ server/ client/ tests/ "
              "lib:protobuf lib:grpc lib:glog lib:cli lib:json lib:gtest lib:nghttp2",
    "tests/storage/": "config/ proto/ storage/ server/ tests/ "
                      "lib:rocksdb lib:protobuf lib:glog lib:gtest",
    "tests/bench/": "config/ proto/ storage/ server/ client/ tests/ "
                    "lib:protobuf lib:grpc lib:glog lib:cli lib:json lib:nghttp2 lib:benchmark",
    "tests/compat/": "proto/ tests/ lib:protobuf lib:gtest lib:toml",
    "tests/sim/": "config/ proto/ storage/ !storage/data_dir/ server/raft/ server/member/ server/watch/ "
                  "server/phase.h tests/ lib:protobuf lib:glog lib:cli lib:gtest",
}
# RocksDB is used by storage/engine/rocks_* only.
ROCKS = re.compile(r"storage/engine/rocks_\w+\.(h|cc)$")

LIBRARIES = {  # the first pattern that matches a header names its library
    "rocksdb": r"rocksdb/", "grpc": r"grpc|.*\.grpc\.pb\.h", "protobuf": r"google/|.*\.pb\.h",
    "glog": r"glog/", "toml": r"toml\+\+/", "openssl": r"openssl/", "cli": r"CLI/",
    "json": r"nlohmann/", "sodium": r"sodium", "gtest": r"g(test|mock)/", "nghttp2": r"nghttp2/",
    "boost": r"boost/",
    "prometheus": r"prometheus/", "benchmark": r"benchmark/",
}

# In these modules one seed must always give the same run. So they may use no thread, lock, clock,
# random device, or container whose order differs from run to run. Both includes and code are
# checked.
DETERMINISTIC = ("server/raft/", "server/member/", "server/watch/", "storage/", "tests/sim/")
NONDETERMINISTIC = re.compile(
    r"#include <(thread|mutex|shared_mutex|condition_variable|future|chrono|random|ctime|time\.h"
    r"|atomic|unordered_map|unordered_set|pthread\.h)>"
    r"|#include <sodium"
    r'|#include "storage/base/seeded_hash\.h"'
    r'|#include "absl/(synchronization/|random/|time/clock\.h|container/(flat|node)_hash)'
    r"|\b(absl::(Now|BitGen|Mutex|SleepFor|(flat|node)_hash_\w+)|std::unordered_\w+"
    r"|std::(random_device|mt19937|chrono|thread|mutex|async)|rand\(|time\((0|nullptr|NULL)\))")
# A file that may use a part of this nevertheless: what, and why.
LOCKS, ATOMICS = r"absl/synchronization/|absl::Mutex", r"<atomic>"
HASH_MAPS = r"absl/container/flat_hash|absl::flat_hash_\w+|seeded_hash\.h"
CLOCKS = r"<chrono>|std::chrono|absl/time/clock\.h|absl::(Now|SleepFor)"
NONDETERMINISM_ALLOWED = {
    "storage/engine/rocks_engine.cc": (
        LOCKS + "|" + ATOMICS, "RocksDB's threads; the simulator does not use this engine"),
    "storage/engine/rocks_reclaim.h": (
        LOCKS + r"|<thread>|std::thread", "a thread; the simulator does not use this engine"),
    "storage/engine/rocks_reclaim.cc": (LOCKS, "the same"),
    "storage/engine/rocks_usage.h": (
        LOCKS + "|" + ATOMICS, "RocksDB's threads; the simulator does not use this engine"),
    "storage/engine/rocks_usage.cc": (LOCKS, "the same"),
    "storage/engine/memory_engine.h": (
        LOCKS, "a lock, because worker threads read pinned snapshots"),
    "storage/engine/memory_engine.cc": (LOCKS, "the same"),
    "storage/base/published.h": (
        LOCKS, "a lock, because any thread reads; a simulation has one thread"),
    "storage/base/for_any_thread.h": (LOCKS, "the same"),
    "server/member/lessor.h": (HASH_MAPS, "a hash map that is only looked up, never iterated"),
    "storage/mvcc/leases.h": (HASH_MAPS, "the same"),
    "storage/mvcc/writer.h": (HASH_MAPS, "the same"),
    "storage/log/watermark.cc": (
        CLOCKS, "a clock that limits how often it syncs; not used in simulations"),
    "storage/base/seeded_hash.cc": (
        r"<sodium|seeded_hash\.h", "a random key; used only by hash maps that are never iterated"),
    "storage/base/duration_histogram.h": (
        ATOMICS, "counts durations; nothing in a simulation reads them"),
    "storage/engine/rocks_file_system.cc": (
        CLOCKS, "measures how long syncs take; not used in simulations"),
    "storage/engine/rocks_file_system.h": (ATOMICS, "RocksDB's threads; not used in simulations"),
    "storage/data_dir/dir_remover.h": (
        LOCKS + r"|<thread>|std::thread", "a thread; the simulator has no directories"),
    "storage/data_dir/dir_remover.cc": (LOCKS + r"|std::thread", "the same"),
    "storage/data_dir/snapshot_files.cc": (
        LOCKS, "a lock, because several snapshots arrive at once"),
    "storage/base/disk_operations.cc": (
        LOCKS + "|" + ATOMICS, "counts operations; nothing in a simulation reads them"),
    "server/watch/range_index.h": (
        HASH_MAPS, "a hash map that is only looked up, and a tree whose shape, but not order, "
                   "depends on a random key"),
    "server/member/pending.h": (
        ATOMICS, "flags set by the applier's thread; a simulation has one thread"),
    "server/member/member.h": (
        ATOMICS, "values that other threads read; a simulation has one thread"),
    "tests/sim/main.cc": (
        CLOCKS, "starts processes and draws seeds; a run depends only on its seed"),
}

SILENT = ("server/raft/", "server/member/", "server/watch/")  # they report events and write no log lines
LOG_LINE = re.compile(r"\b(LOG|VLOG|PLOG|DLOG)(_IF|_EVERY_N)?\(")


def module_of(path):
    return max((module for module in MODULES if path.startswith(module)), key=len, default=None)


def library_of(header):
    return next((name for name, form in LIBRARIES.items() if re.match(form, header)), None)


def include_fault(path, header):
    """What is wrong with this include, or None."""
    module = module_of(path)
    if module is None:
        return None
    allowed = MODULES[module].split()
    library = library_of(header)
    if library == "rocksdb" and ROCKS.match(path):
        library = None
    if library and "lib:" + library not in allowed:
        return "%s may not use %s (%s)" % (module, library, header)
    if re.match(r"(config|proto|server|storage|client|tests)/", header):
        excluded = any(header.startswith(to[1:]) for to in allowed if to[0] == "!")
        included = any(header.startswith(to) for to in allowed) and not excluded
        if module_of(header) != module and not included:
            return "%s may not include %s" % (module, header)
    return None


def line_faults(path, line):
    include = re.match(r'#include\s+["<]([^">]+)[">]', line)
    if include:
        fault = include_fault(path, include.group(1))
        if fault:
            yield fault
    code = line if include else re.sub(r'"(\\.|[^"\\])*"', '""', line.split("//")[0])
    if path.startswith(DETERMINISTIC):
        allowed = NONDETERMINISM_ALLOWED.get(path, ("(?!)",))[0]
        for found in NONDETERMINISTIC.finditer(code):
            if not re.search(allowed, found.group()):
                yield "not deterministic: " + found.group()
                break
    if path.startswith(SILENT) and LOG_LINE.search(code):
        yield "no log lines here; report an event instead"


def faults(root, paths):
    """Yields "path:line: what" for each violation."""
    for path in sorted(paths):
        with open(os.path.join(root, path), encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                for fault in line_faults(path, line):
                    yield "%s:%d: %s" % (path, number, fault)


def page_faults(page):
    """Compares docs/architecture.md with MODULES: its table of modules, and its list of modules in
    which each one uses only earlier ones."""
    modules = {module.rstrip("/") for module in MODULES if not module.startswith("tests/")}
    rows = set(re.findall(r"^\| `([\w/]+)` \|", page, re.M))
    for module in sorted(modules ^ rows):
        yield "module %s is only in %s" % (module, "the page" if module in rows else "MODULES")
    chain = page[page.index("in this list:"):page.index("Exceptions and further modules")]
    steps = [re.findall(r"`([\w/]+)`", step) for step in chain.split(";")]
    place = {module: number for number, step in enumerate(steps) for module in step}
    for module in sorted(modules - {"client", "storage/backup"}):
        if module not in place:
            yield "module %s is not in the list" % module
        for to in (to.rstrip("/") for to in MODULES[module + "/"].split()):
            if to != module and place.get(to, -1) >= place.get(module, 99):
                yield "%s may use %s, which the list does not put before it" % (module, to)


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else "."
    listed = subprocess.run(
        ["git", "-C", root, "ls-files", "--cached", "--others", "--exclude-standard", "*.h", "*.cc"],
        check=True, capture_output=True, text=True).stdout.split()
    found = list(faults(root, [p for p in listed if os.path.exists(os.path.join(root, p))]))
    page = os.path.join("docs", "architecture.md")
    with open(os.path.join(root, page), encoding="utf-8") as file:
        found += ["%s: %s" % (page, fault) for fault in page_faults(file.read())]
    for fault in found:
        print(fault)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
