#include "tests/e2e/traffic.h"

#include <glog/logging.h>

#include <chrono>
#include <map>
#include <random>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace raftkv::e2e {
namespace {

using Kind = Operation::Kind;
using Outcome = Operation::Outcome;
using KeyValues = std::map<std::string, std::string>;

constexpr int64_t kStart = 1;  // the revision of an empty store

int64_t Now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Certainly never applied: it did not leave this process, or the server said that it took nothing.
// Every other error leaves a write's fate unknown.
bool NeverApplied(const grpc::Status& status) {
  return status.error_message() == kNotSent ||
         absl::StrContains(status.error_message(), "failed to connect to all addresses") ||
         absl::StrContains(status.error_message(), "etcdserver: too many requests");
}

void Judge(const grpc::Status& status, int64_t revision, Operation* op) {
  op->returned = Now();
  if (status.ok()) {
    op->outcome = Outcome::kOk;
    op->revision = revision;
  } else {
    op->outcome = NeverApplied(status) ? Outcome::kRefused : Outcome::kUnknown;
  }
}

std::string KeyName(int i) { return absl::StrCat("key", i); }

KeyValues StateAt(Connection& connection, int64_t revision) {
  const auto reply = Range(connection, EverythingRequest(revision, /*serializable=*/true));
  CHECK(reply.ok()) << "revision " << revision << ": " << reply.status.error_message();
  KeyValues state;
  for (const auto& kv : reply.response.kvs()) state[kv.key()] = kv.value();
  return state;
}

// Changes of the revisions (begin, end], each seen as the difference of two states.
std::vector<Change> ReadEvidence(const std::string& address, int64_t begin, int64_t end) {
  Connection connection(address);
  std::vector<Change> changes;
  KeyValues before = StateAt(connection, begin);
  for (int64_t revision = begin + 1; revision <= end; ++revision) {
    KeyValues after = StateAt(connection, revision);
    for (const auto& [key, value] : after) {
      const auto old = before.find(key);
      if (old == before.end() || old->second != value) {
        changes.push_back({revision, /*is_delete=*/false, key, value});
      }
    }
    for (const auto& [key, value] : before) {
      if (after.count(key) == 0) changes.push_back({revision, /*is_delete=*/true, key, ""});
    }
    before = std::move(after);
  }
  return changes;
}

}  // namespace

Operation Observe(Connection& connection, Kind kind, const std::string& key,
                  const std::string& value, bool serializable, absl::Duration timeout) {
  Operation op;
  op.kind = kind;
  op.key = key;
  op.value = value;
  op.invoked = Now();
  switch (kind) {
    case Kind::kPut: {
      const auto reply = Put(connection, key, value, timeout);
      Judge(reply.status, reply.response.header().revision(), &op);
      break;
    }
    case Kind::kDelete: {
      const auto reply = Delete(connection, key, timeout);
      Judge(reply.status, reply.response.header().revision(), &op);
      op.found = reply.response.deleted() > 0;
      break;
    }
    case Kind::kGet: {
      const auto reply = Range(connection, GetRequest(key, serializable), timeout);
      Judge(reply.status, reply.response.header().revision(), &op);
      op.found = reply.response.kvs_size() > 0;
      if (op.found) {
        const mvccpb::KeyValue& kv = reply.response.kvs(0);
        op.value = kv.value();
        op.create_revision = kv.create_revision();
        op.mod_revision = kv.mod_revision();
        op.version = kv.version();
      }
      break;
    }
  }
  return op;
}

Traffic::Traffic(Cluster* cluster, const TrafficOptions& options)
    : cluster_(cluster), options_(options), seen_(options.clients) {
  for (int client = 0; client < options_.clients; ++client) {
    threads_.emplace_back([this, client] { RunClient(client); });
  }
}

Traffic::~Traffic() { Stop(); }

void Traffic::Stop() {
  stop_ = true;
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void Traffic::RunClient(int client) {
  std::vector<std::unique_ptr<Connection>> connections;
  for (const std::string& address : cluster_->client_addresses()) {
    connections.push_back(std::make_unique<Connection>(address));
  }
  std::mt19937_64 random(options_.seed * 1000 + client);
  size_t member = client % connections.size();
  for (int64_t number = 0; !stop_; ++number) {
    const uint64_t dice = random() % 10;
    const Kind kind = dice < 5 ? Kind::kGet : dice < 9 ? Kind::kPut : Kind::kDelete;
    const std::string key = KeyName(static_cast<int>(random() % options_.keys));
    const std::string value = kind == Kind::kPut ? absl::StrCat("c", client, "-", number) : "";
    Operation op = Observe(*connections[member], kind, key, value, options_.serializable_reads,
                           options_.call_timeout);
    op.client = client;
    if (op.outcome == Outcome::kOk) {
      ++acknowledged_;
      if (random() % 16 == 0) member = random() % connections.size();
    } else {
      member = (member + 1) % connections.size();
    }
    // A get without an answer promises nothing.
    if (kind != Kind::kGet || op.outcome == Outcome::kOk) seen_[client].push_back(std::move(op));
  }
}

bool Traffic::WaitForAcknowledged(int64_t count, absl::Duration timeout) {
  const int64_t target = acknowledged_ + count;
  return Eventually(timeout, [&] { return acknowledged_ >= target; });
}

History Traffic::Collect() {
  History history;
  history.start_revision = kStart;
  for (std::vector<Operation>& operations : seen_) {
    std::move(operations.begin(), operations.end(), std::back_inserter(history.operations));
  }
  int64_t end = kStart;
  std::move(recorded_.begin(), recorded_.end(), std::back_inserter(history.operations));
  std::vector<std::string> running;
  for (int i = 0; i < cluster_->size(); ++i) {
    if (!cluster_->Running(i)) continue;
    running.push_back(cluster_->client_address(i));
    for (int key = 0; key < options_.keys; ++key) {
      Operation op = Observe(cluster_->connection(i), Kind::kGet, KeyName(key), "",
                             options_.serializable_reads);
      CHECK(op.outcome == Outcome::kOk);
      op.client = -1 - i;  // the test's own last look
      end = std::max(end, op.revision);
      history.operations.push_back(std::move(op));
    }
  }

  // Every member serves a share of the past, so that all of them have the same one.
  constexpr int kShares = 6;
  std::vector<std::vector<Change>> shares(kShares);
  std::vector<std::thread> readers;
  for (int share = 0; share < kShares; ++share) {
    const int64_t begin = kStart + (end - kStart) * share / kShares;
    const int64_t until = kStart + (end - kStart) * (share + 1) / kShares;
    const std::string address = running[share % running.size()];
    readers.emplace_back(
        [=, &changes = shares[share]] { changes = ReadEvidence(address, begin, until); });
  }
  for (std::thread& reader : readers) reader.join();
  for (std::vector<Change>& changes : shares) {
    std::move(changes.begin(), changes.end(), std::back_inserter(history.evidence));
  }
  return history;
}

}  // namespace raftkv::e2e
