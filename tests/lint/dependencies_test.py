#!/usr/bin/env python3
"""Checks that dependencies.py finds violations of each of its rules and accepts what is allowed."""

import sys
import unittest

sys.dont_write_bytecode = True
import dependencies  # noqa: E402


def found(path, line):
    return list(dependencies.line_faults(path, line))


class Dependencies(unittest.TestCase):
    def test_wrong_includes_are_found(self):
        for path, header in [
            ("server/raft/raft.cc", '"storage/engine/engine.h"'),
            ("server/raft/raft.cc", '"storage/log/log_store.h"'),
            ("server/raft/raft.cc", '"proto/raft.pb.h"'),
            ("server/raft/raft.cc", "<grpcpp/grpcpp.h>"),
            ("server/raft/raft.cc", "<mutex>"),
            ("server/raft/raft.cc", '"absl/synchronization/mutex.h"'),
            ("server/raft/raft.cc", '"absl/time/clock.h"'),
            ("server/raft/raft.cc", "<unordered_map>"),
            ("storage/log/log_store.cc", '"server/raft/raft.h"'),
            ("storage/log/log_store.cc", '"server/member/replica.h"'),
            ("storage/log/log_store.cc", "<rocksdb/db.h>"),
            ("storage/log/log_store.cc", "<grpcpp/grpcpp.h>"),
            ("server/member/replica.cc", "<grpcpp/grpcpp.h>"),
            ("server/member/replica.cc", '"proto/raft.grpc.pb.h"'),
            ("server/member/replica.cc", '"server/api/kv.h"'),
            ("server/member/replica.cc", "<rocksdb/db.h>"),
            ("server/member/replica.cc", '"storage/data_dir/restore.h"'),
            ("storage/state_machine.cc", '"storage/data_dir/data_dir.h"'),
            ("storage/state_machine.cc", '"storage/backup/backup_file.h"'),
            ("server/peer/peers.cc", '"server/api/kv.h"'),
            ("server/peer/peers.cc", '"server/server.h"'),
            ("server/api/kv.cc", '"server/server.h"'),
            ("server/server.cc", '"client/raftkv.h"'),
            ("server/server.cc", '"tests/sim/rng.h"'),
            ("server/server.cc", "<rocksdb/db.h>"),
            ("server/server.cc", '"server/embedded/server.h"'),
            ("client/client.cc", '"server/api/errors.h"'),
            ("client/client.cc", '"storage/engine/engine.h"'),
            ("client/client.cc", '"proto/raft.pb.h"'),
            ("config/config.cc", '"server/server.h"'),
            ("proto/parse_command.h", '"storage/engine/engine.h"'),
            ("proto/parse_command.h", '"server/raft/types.h"'),
            ("storage/log/log_store.cc", '"server/raft/types.h"'),
            ("storage/engine/rocks_engine.cc", '"storage/mvcc/layout.h"'),
            ("storage/rules/meter.h", '"storage/mvcc/layout.h"'),
            ("storage/rules/members.h", '"storage/engine/engine.h"'),
            ("storage/mvcc/txn.h", '"storage/state_snapshot.h"'),
            ("storage/mvcc/writer.h", '"storage/tables/state.h"'),
            ("storage/tables/keys.cc", '"storage/state_machine.h"'),
            ("tests/sim/world.cc", "<thread>"),
            ("tests/sim/world.cc", '"server/peer/peers.h"'),
            ("tests/sim/world.cc", "<rocksdb/db.h>"),
        ]:
            self.assertEqual(len(found(path, "#include " + header)), 1, (path, header))

    def test_right_includes_pass(self):
        for path, header in [
            ("server/raft/raft.cc", '"server/raft/log.h"'),
            ("server/raft/raft.cc", '"absl/container/inlined_vector.h"'),
            ("server/raft/raft.cc", '"storage/log/entry.h"'),
            ("storage/engine/rocks_engine.cc", "<rocksdb/db.h>"),
            ("server/member/replica.cc", '"storage/log/log_store.h"'),
            ("storage/data_dir/data_dir.cc", '"storage/state_machine.h"'),
            ("server/api/kv.cc", '"server/member/replica.h"'),
            ("server/server.cc", '"server/api/kv.h"'),
            ("client/client.cc", '"proto/etcd/rpc.grpc.pb.h"'),
            ("tests/sim/world.cc", '"server/member/replica.h"'),
        ]:
            self.assertEqual(found(path, "#include " + header), [], (path, header))

    def test_nondeterminism_is_found(self):
        for line in ["absl::Time t = absl::Now();", "std::unordered_map<int, int> m;",
                     "std::mt19937 g;", "absl::Mutex mu;", "int x = rand();"]:
            self.assertEqual(len(found("server/member/replica.cc", line)), 1, line)
            self.assertEqual(found("server/server.cc", line), [], line)
        self.assertEqual(found("server/raft/raft.cc", "// never absl::Now() here"), [])

    def test_a_file_may_use_only_what_is_allowed_there(self):
        for path in ["storage/mvcc/writer.h", "storage/mvcc/leases.h", "server/member/lessor.h"]:
            self.assertEqual(found(path, "absl::flat_hash_map<int, int> m;"), [], path)
            for line in ["absl::Time t = absl::Now();", "absl::Mutex mu;", "#include <chrono>",
                         "absl::flat_hash_map<int, int> m; auto t = absl::Now();"]:
                self.assertEqual(len(found(path, line)), 1, (path, line))
        self.assertEqual(len(found("storage/mvcc/writer.cc", "auto t = absl::Now();")), 1)

    def test_each_exception_is_needed(self):
        for path, (allowed, _) in dependencies.NONDETERMINISM_ALLOWED.items():
            with open(path, encoding="utf-8") as file:
                self.assertRegex(file.read(), allowed, path)

    def test_log_lines_in_the_core_are_found(self):
        self.assertEqual(len(found("server/raft/raft.cc", '  LOG(INFO) << "leader";')), 1)
        self.assertEqual(found("server/loop.cc", '  LOG(INFO) << "leader";'), [])

    def test_a_page_that_differs_is_found(self):
        with open("docs/architecture.md", encoding="utf-8") as file:
            page = file.read()
        self.assertEqual(list(dependencies.page_faults(page)), [])
        for change in [("| `storage/rules` |", "| `storage/rule` |"),
                       ("`storage/rules`; `storage/mvcc`;", "`storage/mvcc`; `storage/rules`;"),
                       ("`storage/engine`; `storage/log`;", "`storage/engine` and `storage/log`;"),
                       ("`storage/tables`; `storage`;", "`storage`;")]:
            self.assertIn(change[0], page)
            self.assertNotEqual(list(dependencies.page_faults(page.replace(*change))), [], change)


if __name__ == "__main__":
    unittest.main()
