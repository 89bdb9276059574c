#include "tests/model/model.h"

#include <algorithm>
#include <vector>

#include "glog/logging.h"
#include "storage/mvcc/history.h"

namespace raftkv {
namespace {

using etcdserverpb::RangeRequest;
using mvccpb::KeyValue;

// What the requested order compares. Elements that compare equal are in ascending order of keys.
std::pair<int64_t, std::string> SortKey(const RangeRequest& request, const KeyValue& kv) {
  switch (request.sort_target()) {
    case RangeRequest::VERSION:
      return {kv.version(), ""};
    case RangeRequest::CREATE:
      return {kv.create_revision(), ""};
    case RangeRequest::MOD:
      return {kv.mod_revision(), ""};
    case RangeRequest::VALUE:
      return {0, kv.value()};
    default:
      return {0, kv.key()};
  }
}

bool Filtered(const RangeRequest& r, const KeyValue& kv) {
  if (r.max_mod_revision() != 0 && kv.mod_revision() > r.max_mod_revision()) return true;
  if (r.min_mod_revision() != 0 && kv.mod_revision() < r.min_mod_revision()) return true;
  if (r.max_create_revision() != 0 && kv.create_revision() > r.max_create_revision()) return true;
  if (r.min_create_revision() != 0 && kv.create_revision() < r.min_create_revision()) return true;
  return false;
}

bool HasFilter(const RangeRequest& r) {
  return r.min_mod_revision() != 0 || r.max_mod_revision() != 0 || r.min_create_revision() != 0 ||
         r.max_create_revision() != 0;
}

// The cluster version that has added the command. A forgotten command does not compile.
ClusterVersion VersionOf(const proto::Command& command) {
  switch (command.op_case()) {
    case proto::Command::kPut:
    case proto::Command::kDeleteRange:
    case proto::Command::kTxn:
    case proto::Command::kCompaction:
    case proto::Command::kRecordStoreId:
    case proto::Command::kSetClusterVersion:
    case proto::Command::OP_NOT_SET:
      break;
    case proto::Command::kLeaseGrant:
    case proto::Command::kLeaseRevoke:
    case proto::Command::kRenewLeases:
    case proto::Command::kExpireLeases:
    case proto::Command::kChangeMembers:
    case proto::Command::kChangeAlarm:
    case proto::Command::kBumpRevision:
      return 3;
  }
  return 1;
}

}  // namespace

bool InRange(const std::string& key, const std::string& begin, const std::string& end) {
  if (end.empty()) return key == begin;
  if (end == std::string(1, '\0')) return key >= begin;
  return key >= begin && key < end;
}

absl::Status ModelCheck(const RangeRequest& request) {
  if (request.key().empty()) return absl::InvalidArgumentError("key is not provided");
  if (request.sort_order() < 0 || request.sort_order() > 2 || request.sort_target() < 0 ||
      request.sort_target() > 4) {
    return absl::InvalidArgumentError("invalid sort option");
  }
  return absl::OkStatus();
}

absl::Status ModelCheck(const etcdserverpb::PutRequest& request) {
  if (request.key().empty()) return absl::InvalidArgumentError("key is not provided");
  if (request.ignore_value() && request.value() != "") {
    return absl::InvalidArgumentError("value is provided");
  }
  if (request.ignore_lease() && request.lease() != 0) {
    return absl::InvalidArgumentError("lease is provided");
  }
  return absl::OkStatus();
}

absl::Status Model::CheckRevision(const Moment& at, int64_t revision) {
  if (revision > at.revision) {
    return absl::OutOfRangeError("mvcc: required revision is a future revision");
  }
  if (revision > 0 && revision < at.compacted) {
    return absl::OutOfRangeError("mvcc: required revision has been compacted");
  }
  return absl::OkStatus();
}

const KeyValue* Model::At(const Versions& versions, int64_t revision) {
  auto next = versions.upper_bound(revision);
  if (next == versions.begin()) return nullptr;
  const KeyValue& kv = std::prev(next)->second;
  return kv.version() == 0 ? nullptr : &kv;
}

const KeyValue* Model::Find(const std::string& key, int64_t revision) const {
  const auto found = keys_.find(key);
  return found == keys_.end() ? nullptr : At(found->second, revision);
}

// --- commands

Model::Answer Model::Apply(const proto::Command& command, uint64_t index) {
  Answer answer;
  answer.revision = revision_;
  answer.status =
      CheckVersion(std::max<ClusterVersion>(VersionOf(command), command.has_session() ? 4 : 1));
  if (!answer.status.ok()) return answer;
  if (!command.has_session()) return Execute(command, index);
  answer.status = CheckSession(command);
  if (!answer.status.ok()) return answer;
  const auto known = kept_.find({command.session().lease_id(), command.session().seq()});
  if (known != kept_.end()) return known->second.answer;
  answer = Execute(command, index);
  Keep(command, &answer);
  return answer;
}

Model::Answer Model::Execute(const proto::Command& command, uint64_t index) {
  Answer answer;
  changed_ = false;
  answer.status = CheckAlarms(command);
  if (answer.status.ok()) ApplyOperation(command, index, &answer);
  revision_ = Newest();
  changed_ = false;
  answer.revision = revision_;
  if (!answer.status.ok()) answer.response.Clear();
  return answer;
}

void Model::ApplyOperation(const proto::Command& command, uint64_t index, Answer* to) {
  Answer& answer = *to;
  etcdserverpb::ResponseHeader* header = nullptr;
  switch (command.op_case()) {
    case proto::Command::kPut:
      answer.status = CheckPut(command.put());
      if (answer.status.ok()) Change(command.put(), answer.response.mutable_put());
      header = answer.response.mutable_put()->mutable_header();
      break;
    case proto::Command::kDeleteRange:
      answer.status = CheckDelete(command.delete_range());
      if (answer.status.ok()) {
        Delete(command.delete_range(), answer.response.mutable_delete_range());
      }
      header = answer.response.mutable_delete_range()->mutable_header();
      break;
    case proto::Command::kTxn:
      answer.status = CheckTxn(command.txn());
      if (answer.status.ok()) {
        Execute(command.txn(), now(), this, answer.response.mutable_txn());
      }
      header = answer.response.mutable_txn()->mutable_header();
      break;
    case proto::Command::kCompaction:
      answer.status = Compact(command.compaction());
      header = answer.response.mutable_compaction()->mutable_header();
      break;
    case proto::Command::kBumpRevision:
      revision_ += command.bump_revision().by();
      break;
    case proto::Command::kRecordStoreId:
      answer.status = RecordStoreId(command.record_store_id());
      break;
    case proto::Command::kSetClusterVersion:
      answer.status = SetClusterVersion(command.set_cluster_version());
      break;
    case proto::Command::kLeaseGrant:
    case proto::Command::kLeaseRevoke:
    case proto::Command::kRenewLeases:
    case proto::Command::kExpireLeases:
      answer.status = ApplyToLeases(command, index, &answer.response);
      if (command.has_lease_grant()) {
        header = answer.response.mutable_lease_grant()->mutable_header();
      } else if (command.has_lease_revoke()) {
        header = answer.response.mutable_lease_revoke()->mutable_header();
      }
      break;
    case proto::Command::kChangeMembers:
      answer.status =
          ChangeMembers(command.change_members(), answer.response.mutable_change_members());
      break;
    case proto::Command::kChangeAlarm:
      answer.status = ChangeAlarm(command.change_alarm(), answer.response.mutable_change_alarm());
      break;
    case proto::Command::OP_NOT_SET:  // a forgotten command does not compile
      LOG(FATAL) << "the model cannot apply a command without an operation";
  }
  if (header != nullptr) header->set_revision(Newest());
}

absl::Status Model::CheckPut(const etcdserverpb::PutRequest& request) const {
  if (absl::Status status = ModelCheck(request); !status.ok()) return status;
  if (absl::Status status = CheckLease({&request}); !status.ok()) return status;
  if ((request.ignore_value() || request.ignore_lease()) &&
      Find(request.key(), revision_) == nullptr) {
    return absl::InvalidArgumentError("key not found");
  }
  return absl::OkStatus();
}

absl::Status Model::CheckDelete(const etcdserverpb::DeleteRangeRequest& request) const {
  if (request.key().empty()) return absl::InvalidArgumentError("key is not provided");
  int64_t deleted = 0;
  return CheckWalk(Walk(request, &deleted));
}

absl::Status Model::CheckTxn(const etcdserverpb::TxnRequest& request) const {
  if (absl::Status status = ModelCheck(request); !status.ok()) return status;
  if (absl::Status status = CheckWalk(WalkOfCompares(request)); !status.ok()) return status;
  if (absl::Status status = CheckTaken(Take(request, revision_), now()); !status.ok())
    return status;
  return CheckWalk(Walk(request));
}

void Model::Change(const etcdserverpb::PutRequest& request, etcdserverpb::PutResponse* response) {
  const KeyValue* found = Find(request.key(), Newest());
  const KeyValue old = found != nullptr ? *found : KeyValue();
  if (found != nullptr && request.prev_kv()) *response->mutable_prev_kv() = old;
  KeyValue kv;
  kv.set_key(request.key());
  kv.set_value(request.ignore_value() ? old.value() : request.value());
  kv.set_lease(request.ignore_lease() ? old.lease() : request.lease());
  kv.set_create_revision(found != nullptr ? old.create_revision() : revision_ + 1);
  kv.set_version(old.version() + 1);
  kv.set_mod_revision(revision_ + 1);
  keys_[request.key()][revision_ + 1] = kv;
  changes_[revision_ + 1].push_back({request.key()});
  changed_ = true;
}

void Model::Delete(const etcdserverpb::DeleteRangeRequest& request,
                   etcdserverpb::DeleteRangeResponse* response) {
  const int64_t newest = Newest();
  int64_t deleted = 0;
  for (auto& [key, versions] : keys_) {
    if (!InRange(key, request.key(), request.range_end())) continue;
    const KeyValue* old = At(versions, newest);
    if (old == nullptr) continue;
    if (request.prev_kv()) *response->add_prev_kvs() = *old;
    ++deleted;
    std::vector<Changed>& changes = changes_[revision_ + 1];
    for (Changed& change : changes) {
      if (change.key == key) change.kv = *old;
    }
    changes.push_back({key, /*deleted=*/true});
    KeyValue tombstone;
    tombstone.set_key(key);
    tombstone.set_mod_revision(revision_ + 1);
    versions[revision_ + 1] = tombstone;
    changed_ = true;
  }
  response->set_deleted(deleted);
}

std::vector<mvccpb::Event> Model::EventsOf(int64_t revision) const {
  std::vector<mvccpb::Event> events;
  const auto found = changes_.find(revision);
  if (found == changes_.end()) return events;
  for (const Changed& change : found->second) {
    const Versions& versions = keys_.at(change.key);
    mvccpb::Event& event = events.emplace_back();
    if (change.deleted) {
      event.set_type(mvccpb::Event::DELETE);
      event.mutable_kv()->set_key(change.key);
      event.mutable_kv()->set_mod_revision(revision);
    } else {
      *event.mutable_kv() = change.kv.version() != 0 ? change.kv : versions.at(revision);
    }
    const KeyValue* before = At(versions, revision - 1);
    if (before != nullptr) *event.mutable_prev_kv() = *before;
  }
  return events;
}

absl::Status Model::Compact(const etcdserverpb::CompactionRequest& request) {
  if (request.revision() <= compacted_) {
    return absl::OutOfRangeError("mvcc: required revision has been compacted");
  }
  if (request.revision() > revision_) {
    return absl::OutOfRangeError("mvcc: required revision is a future revision");
  }
  compacted_ = request.revision();
  return absl::OkStatus();
}

absl::Status Model::RecordStoreId(const proto::RecordStoreId& request) {
  std::string& known = store_ids_[request.member_id()];
  if (known.empty()) known = request.store_id();
  if (known == request.store_id()) return absl::OkStatus();
  return absl::FailedPreconditionError("the member is known with another store id");
}

absl::Status Model::SetClusterVersion(const proto::SetClusterVersion& request) {
  if (request.version() <= cluster_version_) {
    return absl::FailedPreconditionError("the cluster version is already " +
                                         std::to_string(cluster_version_));
  }
  cluster_version_ = request.version();
  return absl::OkStatus();
}

absl::Status Model::CheckVersion(ClusterVersion needs) const {
  if (cluster_version_ >= needs) return absl::OkStatus();
  return absl::FailedPreconditionError("the cluster version is " +
                                       std::to_string(cluster_version_) + ", and this needs " +
                                       std::to_string(needs) + ": upgrade all members");
}

// Applies first what the change says, then its configuration, which decides who is a member and who
// votes.
absl::Status Model::ChangeMembers(const proto::ChangeMembers& change,
                                  proto::ChangeMembersResponse* response) {
  if (change.voters().empty()) {
    return absl::InvalidArgumentError("a change of the members without a configuration");
  }
  const auto known = [this](uint64_t id) { return members_.contains(id); };
  if (change.has_begin()) {
    for (const auto& member : change.begin().members()) members_[member.id()] = {.info = member};
  } else if (change.has_add()) {
    members_[change.add().id()] = {.info = change.add()};
  } else if (change.has_update() && known(change.update().id())) {
    *members_[change.update().id()].info.mutable_peerurls() = change.update().peerurls();
  } else if (change.has_publish() && known(change.publish().id())) {
    etcdserverpb::Member& info = members_[change.publish().id()].info;
    members_[change.publish().id()].started = true;
    info.set_name(change.publish().name());
    *info.mutable_clienturls() = change.publish().clienturls();
  } else if (change.has_promote() && known(change.promote())) {
    members_[change.promote()].info.set_islearner(false);
  }
  const std::set<uint64_t> voters(change.voters().begin(), change.voters().end());
  std::set<uint64_t> everyone(change.learners().begin(), change.learners().end());
  everyone.insert(voters.begin(), voters.end());
  for (const auto& [id, member] : members_) {
    if (!everyone.contains(id)) removed_members_.insert(id);
  }
  std::erase_if(members_, [&](const auto& member) { return !everyone.contains(member.first); });
  for (const uint64_t id : everyone) {
    removed_members_.erase(id);
    Member& member = members_[id];
    member.info.set_id(id);
    member.votes = voters.contains(id);
    if (member.votes) member.info.set_islearner(false);
  }
  for (const auto& [id, member] : members_) *response->add_members() = member.info;
  return absl::OkStatus();
}

// --- the steps of a command

int64_t Model::StepsOfKey(const std::string& key) const {
  const auto stored = static_cast<int64_t>(key.size()) + std::count(key.begin(), key.end(), '\0');
  const int64_t per_step = rules().costs.key_bytes_per_step;
  return 1 + (per_step == 0 ? 0 : stored / per_step);
}

int64_t Model::Walk(const std::string& key, const Versions& versions, int64_t revision) const {
  const KeyValue* kv = At(versions, revision);
  if (kv != nullptr) {
    return StepsOfKey(key) +
           static_cast<int64_t>(kv->value().size()) / rules().costs.value_bytes_per_step;
  }
  return versions.rbegin()->first >= compacted_ ? StepsOfKey(key) : 0;
}

// Walks the keys in order until nothing can be added to the answer. The remaining keys are counted.
int64_t Model::Walk(const RangeRequest& request) const {
  if (request.range_end().empty()) return 0;
  const int64_t revision = request.revision() > 0 ? request.revision() : revision_;
  const bool in_order =
      request.sort_target() == RangeRequest::KEY && request.sort_order() != RangeRequest::DESCEND;
  const bool no_order = request.sort_order() == RangeRequest::NONE && !HasFilter(request);
  const int64_t wanted = request.limit() > 0 && (in_order || no_order) ? request.limit() : -1;
  bool complete = request.count_only();
  int64_t walked = 0, found = 0, counted = 0;
  for (const auto& [key, versions] : keys_) {
    if (!InRange(key, request.key(), request.range_end())) continue;
    const KeyValue* kv = At(versions, revision);
    if (complete && revision == revision_) {
      counted += kv != nullptr;
      continue;
    }
    walked += Walk(key, versions, revision);
    found += kv != nullptr && !Filtered(request, *kv);
    complete |= wanted > 0 && found > wanted;
  }
  const int64_t block = rules().count_block_keys;
  return walked + std::min(counted, block + counted / block);
}

int64_t Model::Walk(const etcdserverpb::DeleteRangeRequest& request, int64_t* deleted_steps) const {
  int64_t walked = 0;
  if (request.range_end().empty()) return 0;
  for (const auto& [key, versions] : keys_) {
    if (!InRange(key, request.key(), request.range_end())) continue;
    walked += Walk(key, versions, revision_);
    if (At(versions, revision_) != nullptr) *deleted_steps += StepsOfKey(key);
  }
  return walked;
}

absl::Status Model::CheckWalk(int64_t steps) const {
  if (steps <= rules().walked_steps) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      "one transaction or deletion may take at most " + std::to_string(rules().walked_steps) +
      " steps to read its ranges (one for each key, and more for a large key or value); ask for "
      "smaller ranges, or compact what was deleted");
}

// --- reads

absl::Status Model::Range(const RangeRequest& request, const Moment& at,
                          etcdserverpb::RangeResponse* response) const {
  if (absl::Status status = ModelCheck(request); !status.ok()) return status;
  if (absl::Status status = CheckRevision(at, request.revision()); !status.ok()) return status;
  const int64_t revision = request.revision() > 0 ? request.revision() : at.revision;

  std::vector<KeyValue> kvs;
  for (const auto& [key, versions] : keys_) {
    if (!InRange(key, request.key(), request.range_end())) continue;
    if (const KeyValue* kv = At(versions, revision)) kvs.push_back(*kv);
  }
  response->mutable_header()->set_revision(at.revision);
  response->set_count(static_cast<int64_t>(kvs.size()));
  if (request.count_only()) return absl::OkStatus();

  const bool limited = request.limit() > 0;
  const size_t limit = static_cast<size_t>(request.limit());
  if (limited && request.sort_order() == RangeRequest::NONE && !HasFilter(request) &&
      kvs.size() > limit + 1) {
    kvs.resize(limit + 1);  // before sorting: etcd does so too
  }
  std::vector<KeyValue> kept;
  for (const KeyValue& kv : kvs) {
    if (!Filtered(request, kv)) kept.push_back(kv);
  }
  std::stable_sort(kept.begin(), kept.end(), [&](const KeyValue& a, const KeyValue& b) {
    if (request.sort_order() == RangeRequest::DESCEND) {
      return SortKey(request, a) > SortKey(request, b);
    }
    return SortKey(request, a) < SortKey(request, b);
  });
  if (limited && kept.size() > limit) {
    kept.resize(limit);
    response->set_more(true);
  }
  for (KeyValue& kv : kept) {
    if (request.keys_only()) kv.clear_value();
    *response->add_kvs() = kv;
  }
  return absl::OkStatus();
}

absl::Status Model::History(const Moment& at, int64_t revision,
                            std::vector<KeyValue>* versions) const {
  if (absl::Status status = CheckRevision(at, revision); !status.ok()) return status;
  if (revision <= 0) revision = at.revision;
  const int64_t kept = cluster_version_ < kHashKvVersion ? at.compacted : revision;
  for (const auto& [key, all] : keys_) {
    if (const KeyValue* kv = At(all, kept)) versions->push_back(*kv);
    for (auto it = all.upper_bound(kept); it != all.end() && it->first <= revision; ++it) {
      versions->push_back(it->second);
    }
  }
  return absl::OkStatus();
}

std::set<std::pair<std::string, int64_t>> Model::Stored(const Moment& at) const {
  std::set<std::pair<std::string, int64_t>> stored;
  for (const auto& [key, versions] : keys_) {
    if (const KeyValue* kv = At(versions, at.compacted)) stored.emplace(key, kv->mod_revision());
    for (auto it = versions.lower_bound(at.compacted);
         it != versions.end() && it->first <= at.revision; ++it) {
      stored.emplace(key, it->first);
    }
  }
  return stored;
}

absl::Status Model::HashOfHistory(const Moment& at, int64_t revision, uint64_t* hash) const {
  std::vector<KeyValue> versions;
  if (absl::Status status = History(at, revision, &versions); !status.ok()) return status;
  *hash = 0xcbf29ce484222325;
  for (const KeyValue& kv : versions) {
    for (const char c : kv.SerializeAsString()) {  // FNV-1a, with a bar between versions
      *hash = (*hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
    }
    *hash = (*hash ^ 0x100) * 0x100000001b3;
  }
  return absl::OkStatus();
}

}  // namespace raftkv
