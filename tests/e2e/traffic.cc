#include "tests/e2e/traffic.h"

#include <glog/logging.h>

#include <algorithm>
#include <optional>
#include <random>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace raftkv::e2e {
namespace {

using etcdserverpb::Compare;
using etcdserverpb::KV;
using etcdserverpb::TxnRequest;
using Kind = Operation::Kind;
using Outcome = Operation::Outcome;
using KeyValues = std::map<std::string, std::string>;

// The compactor keeps this many revisions. Reads of the past go back up to three times as far.
constexpr int64_t kKeptRevisions = 300;
constexpr int kKeysOfGroup = 5;  // see TrafficKey

// Whether the request was certainly never applied: it was not sent, or the server rejected it
// before proposing it. After any other error, the outcome of a write is unknown.
bool NeverApplied(const grpc::Status& status) {
  return status.error_message() == kNotSent ||
         absl::StrContains(status.error_message(), "failed to connect to all addresses") ||
         absl::StrContains(status.error_message(), "etcdserver: too many requests");
}

void SetOutcome(const grpc::Status& status, int64_t revision, Operation* op) {
  op->returned = NowNanoseconds();
  if (status.ok()) {
    op->outcome = Outcome::kOk;
    op->revision = revision;
  } else if (absl::StrContains(status.error_message(), "has been compacted")) {
    op->outcome = Outcome::kCompacted;
  } else if (absl::StrContains(status.error_message(), "is a future revision")) {
    op->outcome = Outcome::kFuture;
  } else {
    op->outcome = NeverApplied(status) ? Outcome::kNotApplied : Outcome::kUnknown;
  }
}

// Copies what a range returned for op->key into `op`, and its value into `value`.
void Take(const etcdserverpb::RangeResponse& response, Operation* op, std::string* value) {
  for (const mvccpb::KeyValue& kv : response.kvs()) {
    if (kv.key() != op->key) continue;
    op->found = true;
    *value = kv.value();
    op->create_revision = kv.create_revision();
    op->mod_revision = kv.mod_revision();
    op->version = kv.version();
  }
}

// --- transactions

using Ops = google::protobuf::RepeatedPtrField<etcdserverpb::RequestOp>;

void AddTo(Ops* ops, Kind kind, const std::string& key, const std::string& value) {
  etcdserverpb::RequestOp* op = ops->Add();
  if (kind == Kind::kGet) op->mutable_request_range()->set_key(key);
  if (kind == Kind::kDelete) op->mutable_request_delete_range()->set_key(key);
  if (kind != Kind::kPut) return;
  op->mutable_request_put()->set_key(key);
  op->mutable_request_put()->set_value(value);
}

void AddPrefix(Ops* ops, Kind kind, const std::string& prefix) {
  std::string end = prefix;
  ++end.back();
  if (kind == Kind::kGet) {
    ops->Add()->mutable_request_range()->set_key(prefix);
    ops->rbegin()->mutable_request_range()->set_range_end(end);
  } else {
    ops->Add()->mutable_request_delete_range()->set_key(prefix);
    ops->rbegin()->mutable_request_delete_range()->set_range_end(end);
    ops->rbegin()->mutable_request_delete_range()->set_prev_kv(true);
  }
}

// The end of the parts that are sent in one range request together with the one at `first`.
size_t EndOfRange(const std::vector<Operation>& parts, size_t first) {
  size_t end = first + 1;
  if (parts[first].prefix.empty()) return end;
  while (end < parts.size() && parts[end].prefix == parts[first].prefix &&
         parts[end].kind == parts[first].kind) {
    ++end;
  }
  return end;
}

TxnRequest RequestOf(const Operation& op) {
  TxnRequest request;
  for (size_t i = 0; i < op.parts.size(); i = EndOfRange(op.parts, i)) {
    const Operation& part = op.parts[i];
    if (part.prefix.empty()) {
      AddTo(request.mutable_success(), part.kind, part.key, part.value);
    } else {
      AddPrefix(request.mutable_success(), part.kind, part.prefix);
    }
  }
  if (op.kind == Kind::kTxn) return request;
  Compare* compare = request.add_compare();
  compare->set_key(op.key);
  compare->set_target(Compare::MOD);
  compare->set_mod_revision(op.expected);
  AddTo(request.mutable_success(), op.removes ? Kind::kDelete : Kind::kPut, op.key, op.value);
  AddTo(request.mutable_failure(), Kind::kGet, op.key, "");
  return request;
}

void TakePart(const etcdserverpb::ResponseOp& answer, Operation* part) {
  if (part->kind == Kind::kGet) return Take(answer.response_range(), part, &part->value);
  const etcdserverpb::DeleteRangeResponse& removal = answer.response_delete_range();
  part->found = part->prefix.empty()
                    ? removal.deleted() > 0
                    : std::any_of(removal.prev_kvs().begin(), removal.prev_kvs().end(),
                                  [&](const auto& kv) { return kv.key() == part->key; });
}

void Take(const etcdserverpb::TxnResponse& response, Operation* op) {
  op->succeeded = response.succeeded();
  if (op->kind == Kind::kCas) {
    CHECK_EQ(response.responses_size(), 1);
    const etcdserverpb::ResponseOp& only = response.responses(0);
    if (!op->succeeded) return Take(only.response_range(), op, &op->found_value);
    op->found = only.response_delete_range().deleted() > 0;
    return;
  }
  size_t part = 0;
  for (const etcdserverpb::ResponseOp& answer : response.responses()) {
    CHECK_LT(part, op->parts.size());
    for (const size_t end = EndOfRange(op->parts, part); part < end; ++part) {
      TakePart(answer, &op->parts[part]);
    }
  }
  CHECK_EQ(part, op->parts.size());
}

// --- the operations of a client

class Chooser {
 public:
  Chooser(int client, const TrafficOptions& options)
      : client_(client),
        keys_(options.keys),
        start_revision_(options.start_revision),
        random_(options.seed * 1000 + client) {}

  uint64_t Random() { return random_(); }

  Operation Next() {
    Operation op;
    op.client = client_;
    op.key = Key();
    ++number_;
    const uint64_t dice = random_() % 20;
    if (dice < 8) return op;  // get
    if (dice < 9) {
      if (revision_ > 0) op.at_revision = std::max(start_revision_, revision_ - Back());
    } else if (dice < 13) {
      op.kind = Kind::kPut;
    } else if (dice < 14) {
      op.kind = Kind::kDelete;
    } else if (dice < 18) {
      op.kind = Kind::kCas;
      op.expected = modified_[op.key];
      op.removes = op.expected > 0 && dice == 17;
    } else if (dice < 19) {
      FillTxn(&op);
    } else {
      FillPrefixTxn(&op);
    }
    if (op.kind == Kind::kPut || (op.kind == Kind::kCas && !op.removes)) op.value = Value();
    return op;
  }

  // Remembers the revisions in an answer, so that some later compares succeed.
  void Learn(const Operation& op) {
    if (op.outcome != Outcome::kOk || op.at_revision > 0) return;
    revision_ = std::max(revision_, op.revision);
    const bool reads = op.kind == Kind::kGet || (op.kind == Kind::kCas && !op.succeeded);
    const bool removes = op.kind == Kind::kDelete || op.removes;
    if (op.kind != Kind::kTxn) {
      modified_[op.key] = reads ? op.mod_revision : removes ? 0 : op.revision;
    }
  }

 private:
  std::string Key() { return TrafficKey(random_() % keys_); }
  std::string Value() const { return absl::StrCat("c", client_, "-", number_); }
  int64_t Back() { return static_cast<int64_t>(random_() % (3 * kKeptRevisions)); }

  // Two gets and the atomic change of three keys. A quarter of them has only the gets.
  void FillTxn(Operation* op) {
    op->kind = Kind::kTxn;
    op->key.clear();
    const uint64_t first = random_() % keys_;
    const auto add = [&](Kind kind, uint64_t offset) {
      const std::string value = kind == Kind::kPut ? Value() : "";
      op->parts.push_back(
          {.kind = kind, .key = TrafficKey((first + offset) % keys_), .value = value});
    };
    add(Kind::kGet, 0);
    add(Kind::kGet, 1);
    if (random_() % 4 == 0) return;
    add(Kind::kPut, 1);
    add(Kind::kDelete, 2);
    add(Kind::kPut, 3);
  }

  // Reads all keys of a prefix. A third of them also deletes the keys; a put in the same
  // transaction identifies the operation if its answer is lost.
  void FillPrefixTxn(Operation* op) {
    op->kind = Kind::kTxn;
    op->key.clear();
    const int first = static_cast<int>(random_() % keys_) / kKeysOfGroup * kKeysOfGroup;
    const auto add = [&](Kind kind) {
      for (int i = first + 1; i < std::min(first + kKeysOfGroup, keys_); ++i) {
        op->parts.push_back({.kind = kind, .key = TrafficKey(i), .prefix = TrafficKey(first + 1)});
      }
    };
    add(Kind::kGet);
    if (random_() % 3 != 0) return;
    add(Kind::kDelete);
    op->parts.push_back({.kind = Kind::kPut, .key = TrafficKey(first), .value = Value()});
  }

  const int client_;
  const int keys_;
  const int64_t start_revision_;
  std::mt19937_64 random_;
  int64_t number_ = 0;
  int64_t revision_ = 0;                     // the newest one seen in an answer
  std::map<std::string, int64_t> modified_;  // the last known mod_revision of each key
};

}  // namespace

std::string TrafficKey(int number) {
  const std::string plain = absl::StrCat("key", number / kKeysOfGroup);
  const int form = number % kKeysOfGroup;
  if (form == 0) return plain;
  static const std::string kEnds[] = {"", std::string(1, '\0'), "\xff", "/status"};
  return absl::StrCat("/registry/pods/", plain, kEnds[form - 1]);
}

Operation Perform(Connection& connection, Operation op, bool serializable, absl::Duration timeout) {
  op.invoked = NowNanoseconds();
  switch (op.kind) {
    case Kind::kPut: {
      const auto reply = Put(connection, op.key, op.value, timeout);
      SetOutcome(reply.status, reply.response.header().revision(), &op);
      break;
    }
    case Kind::kDelete: {
      const auto reply = Delete(connection, op.key, timeout);
      SetOutcome(reply.status, reply.response.header().revision(), &op);
      op.found = reply.response.deleted() > 0;
      break;
    }
    case Kind::kGet: {
      etcdserverpb::RangeRequest request = GetRequest(op.key, serializable);
      request.set_revision(op.at_revision);
      const auto reply = Range(connection, request, timeout);
      SetOutcome(reply.status, reply.response.header().revision(), &op);
      Take(reply.response, &op, &op.value);
      break;
    }
    case Kind::kCas:
    case Kind::kTxn: {
      const auto reply = Call(connection, *connection.kv, &KV::Stub::Txn, RequestOf(op), timeout);
      SetOutcome(reply.status, reply.response.header().revision(), &op);
      if (reply.ok()) Take(reply.response, &op);
      break;
    }
    case Kind::kCompact: {
      etcdserverpb::CompactionRequest request;
      request.set_revision(op.at_revision);
      const auto reply = Call(connection, *connection.kv, &KV::Stub::Compact, request, timeout);
      SetOutcome(reply.status, reply.response.header().revision(), &op);
      break;
    }
  }
  return op;
}

Operation Observe(Connection& connection, Kind kind, const std::string& key,
                  const std::string& value, bool serializable, absl::Duration timeout) {
  Operation op;
  op.kind = kind;
  op.key = key;
  op.value = value;
  return Perform(connection, std::move(op), serializable, timeout);
}

Traffic::Traffic(Cluster* cluster, const TrafficOptions& options)
    : cluster_(cluster),
      options_(options),
      seen_(options.clients),
      evidence_connections_(Connect()),
      evidence_end_(options.start_revision) {
  for (int client = 0; client < options_.clients; ++client) {
    threads_.emplace_back([this, client] { RunClient(client); });
  }
  if (options_.compact_every > absl::ZeroDuration()) {
    threads_.emplace_back([this] { RunReader(); });
    threads_.emplace_back([this] { RunCompactor(); });
  }
}

Traffic::~Traffic() { Stop(); }

void Traffic::Stop() {
  stop_ = true;
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

std::vector<std::unique_ptr<Connection>> Traffic::Connect() const {
  std::vector<std::unique_ptr<Connection>> connections;
  for (const std::string& address : cluster_->client_addresses()) {
    connections.push_back(std::make_unique<Connection>(address));
  }
  return connections;
}

void Traffic::RunClient(int client) {
  std::vector<std::unique_ptr<Connection>> connections = Connect();
  Chooser chooser(client, options_);
  size_t member = client % connections.size();
  while (!stop_) {
    Operation op = Perform(*connections[member], chooser.Next(), options_.serializable_reads,
                           options_.call_timeout);
    chooser.Learn(op);
    const bool answered = op.outcome != Outcome::kUnknown && op.outcome != Outcome::kNotApplied;
    if (answered) {
      ++acknowledged_;
      if (chooser.Random() % 16 == 0) member = chooser.Random() % connections.size();
    } else {
      member = (member + 1) % connections.size();
    }
    // A get without an answer tells nothing.
    if (answered || op.kind != Kind::kGet) seen_[client].push_back(std::move(op));
  }
}

bool Traffic::WaitForAcknowledged(int64_t count, absl::Duration timeout) {
  const int64_t target = acknowledged_ + count;
  return Eventually(timeout, [&] { return acknowledged_ >= target; });
}

// --- evidence

namespace {

std::optional<KeyValues> StateAt(Connection& connection, int64_t revision) {
  etcdserverpb::RangeRequest request = EverythingRequest(revision, /*serializable=*/true);
  request.set_range_end("l");
  const auto reply = Range(connection, request);
  if (!reply.ok()) return std::nullopt;
  KeyValues state;
  for (const auto& kv : reply.response.kvs()) state[kv.key()] = kv.value();
  return state;
}

}  // namespace

// The changes of a revision are the difference of two states. The members are read in turn, 100
// revisions each, so the history must be the same on all of them. A member that is down or behind
// is skipped.
void Traffic::ReadEvidence(int64_t end) {
  constexpr int64_t kRevisionsPerMember = 100;
  size_t skipped = 0;
  while (evidence_end_ < end) {
    const int64_t revision = evidence_end_ + 1;
    std::optional<KeyValues> after;
    CHECK(Eventually(absl::Seconds(30),
                     [&] {
                       const size_t member = revision / kRevisionsPerMember + skipped;
                       after = StateAt(
                           *evidence_connections_[member % evidence_connections_.size()], revision);
                       if (!after.has_value()) ++skipped;
                       return after.has_value();
                     }))
        << "no member has revision " << revision;
    for (const auto& [key, value] : *after) {
      const auto old = evidence_state_.find(key);
      if (old == evidence_state_.end() || old->second != value) {
        evidence_.push_back({revision, /*is_delete=*/false, key, value});
      }
    }
    for (const auto& [key, value] : evidence_state_) {
      if (after->count(key) == 0) evidence_.push_back({revision, /*is_delete=*/true, key, ""});
    }
    evidence_state_ = std::move(*after);
    evidence_end_ = revision;
  }
}

void Traffic::RunReader() {
  constexpr int64_t kStepRevisions = 50;
  for (size_t member = 0; !stop_; ++member) {
    Connection& connection = *evidence_connections_[member % evidence_connections_.size()];
    const Operation get = Perform(connection, {.key = TrafficKey(0)}, false, options_.call_timeout);
    while (!stop_ && evidence_end_ < get.revision) {
      ReadEvidence(std::min(get.revision, evidence_end_ + kStepRevisions));
    }
  }
}

void Traffic::RunCompactor() {
  std::vector<std::unique_ptr<Connection>> connections = Connect();
  constexpr size_t kFlushEvery = 4;  // iterations
  int64_t compacted = options_.start_revision;
  for (size_t member = 0; !stop_; ++member) {
    absl::SleepFor(options_.compact_every);
    if (member % kFlushEvery == 0) {
      // Defragment begins with a flush. The member may be down; that does not matter.
      Connection& connection = *connections[member / kFlushEvery % connections.size()];
      Call(connection, *connection.maintenance, &etcdserverpb::Maintenance::Stub::Defragment,
           etcdserverpb::DefragmentRequest(), options_.call_timeout);
    }
    const int64_t target = evidence_end_ - kKeptRevisions;
    if (target <= compacted) continue;
    Operation op = Perform(*connections[member % connections.size()],
                           {.kind = Kind::kCompact, .client = -1, .at_revision = target}, false,
                           options_.call_timeout);
    if (op.outcome == Outcome::kOk) {
      compacted = target;
      ++compactions_;
    }
    compactor_seen_.push_back(std::move(op));
  }
}

History Traffic::Collect() {
  History history;
  history.start_revision = options_.start_revision;
  for (std::vector<Operation>& operations : seen_) {
    std::move(operations.begin(), operations.end(), std::back_inserter(history.operations));
  }
  std::move(recorded_.begin(), recorded_.end(), std::back_inserter(history.operations));
  std::move(compactor_seen_.begin(), compactor_seen_.end(), std::back_inserter(history.operations));
  int64_t end = options_.start_revision;
  for (int i = 0; i < cluster_->size(); ++i) {
    if (!cluster_->Running(i)) continue;
    for (int key = 0; key < options_.keys; ++key) {
      Operation op = Observe(cluster_->connection(i), Kind::kGet, TrafficKey(key), "",
                             options_.serializable_reads);
      CHECK(op.outcome == Outcome::kOk);
      op.client = -2 - i;  // the last reads, by the test itself
      end = std::max(end, op.revision);
      history.operations.push_back(std::move(op));
    }
  }
  ReadEvidence(end);
  history.evidence = evidence_;
  return history;
}

}  // namespace raftkv::e2e
