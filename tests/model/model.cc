#include "tests/model/model.h"

#include <algorithm>
#include <vector>

namespace raftkv {
namespace {

using etcdserverpb::RangeRequest;
using mvccpb::KeyValue;

bool InRange(const std::string& key, const std::string& begin, const std::string& end) {
  if (end.empty()) return key == begin;
  if (end == std::string(1, '\0')) return key >= begin;
  return key >= begin && key < end;
}

// What the requested order compares; the key itself breaks ties, always ascending.
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

}  // namespace

const KeyValue* Model::At(const History& history, int64_t revision) {
  auto next = history.upper_bound(revision);
  if (next == history.begin()) return nullptr;
  const KeyValue& kv = std::prev(next)->second;
  return kv.version() == 0 ? nullptr : &kv;
}

Model::Answer Model::Apply(const proto::Command& command) {
  Answer answer;
  switch (command.op_case()) {
    case proto::Command::kPut:
      answer.status = Put(command.put(), answer.response.mutable_put());
      if (answer.status.ok()) {
        answer.response.mutable_put()->mutable_header()->set_revision(revision_);
      }
      break;
    case proto::Command::kDeleteRange:
      answer.status = Delete(command.delete_range(), answer.response.mutable_delete_range());
      if (answer.status.ok()) {
        answer.response.mutable_delete_range()->mutable_header()->set_revision(revision_);
      }
      break;
    case proto::Command::kRecordStoreId: {
      const proto::RecordStoreId& record = command.record_store_id();
      std::string& known = store_ids_[record.member_id()];
      if (known.empty()) known = record.store_id();
      if (known != record.store_id()) {
        answer.status = absl::FailedPreconditionError("the member is known with another store id");
      }
      break;
    }
    default:
      answer.status = absl::UnimplementedError("the model does not know this command");
  }
  if (!answer.status.ok()) answer.response.Clear();
  answer.revision = revision_;
  return answer;
}

absl::Status Model::Put(const etcdserverpb::PutRequest& request,
                        etcdserverpb::PutResponse* response) {
  if (request.key().empty()) return absl::InvalidArgumentError("key is not provided");
  if (request.ignore_value() && request.value() != "") {
    return absl::InvalidArgumentError("value is provided");
  }
  if (request.ignore_lease() && request.lease() != 0) {
    return absl::InvalidArgumentError("lease is provided");
  }
  if (request.lease() != 0) return absl::NotFoundError("requested lease not found");
  History& history = keys_[request.key()];
  const KeyValue* old = At(history, revision_);
  if (old == nullptr && (request.ignore_value() || request.ignore_lease())) {
    return absl::InvalidArgumentError("key not found");
  }
  if (old != nullptr && request.prev_kv()) *response->mutable_prev_kv() = *old;

  ++revision_;
  KeyValue kv;
  kv.set_key(request.key());
  kv.set_value(request.ignore_value() ? old->value() : request.value());
  kv.set_lease(request.ignore_lease() ? old->lease() : request.lease());
  kv.set_create_revision(old != nullptr ? old->create_revision() : revision_);
  kv.set_version(old != nullptr ? old->version() + 1 : 1);
  kv.set_mod_revision(revision_);
  history[revision_] = kv;
  return absl::OkStatus();
}

absl::Status Model::Delete(const etcdserverpb::DeleteRangeRequest& request,
                           etcdserverpb::DeleteRangeResponse* response) {
  if (request.key().empty()) return absl::InvalidArgumentError("key is not provided");
  int64_t deleted = 0;
  for (auto& [key, history] : keys_) {
    const KeyValue* old = At(history, revision_);
    if (old == nullptr || !InRange(key, request.key(), request.range_end())) continue;
    if (request.prev_kv()) *response->add_prev_kvs() = *old;
    ++deleted;
    history[revision_ + 1] = KeyValue();
  }
  if (deleted > 0) ++revision_;
  response->set_deleted(deleted);
  return absl::OkStatus();
}

absl::Status Model::Range(const RangeRequest& request,
                          etcdserverpb::RangeResponse* response) const {
  if (request.key().empty()) return absl::InvalidArgumentError("key is not provided");
  if (request.sort_order() < 0 || request.sort_order() > 2 || request.sort_target() < 0 ||
      request.sort_target() > 4) {
    return absl::InvalidArgumentError("invalid sort option");
  }
  if (request.revision() > revision_) {
    return absl::OutOfRangeError("mvcc: required revision is a future revision");
  }
  const int64_t revision = request.revision() > 0 ? request.revision() : revision_;

  std::vector<KeyValue> kvs;
  for (const auto& [key, history] : keys_) {
    const KeyValue* kv = At(history, revision);
    if (kv != nullptr && InRange(key, request.key(), request.range_end())) kvs.push_back(*kv);
  }
  response->mutable_header()->set_revision(revision_);
  response->set_count(static_cast<int64_t>(kvs.size()));
  if (request.count_only()) return absl::OkStatus();

  const bool limited = request.limit() > 0;
  const size_t limit = static_cast<size_t>(request.limit());
  const bool filters = request.min_mod_revision() != 0 || request.max_mod_revision() != 0 ||
                       request.min_create_revision() != 0 || request.max_create_revision() != 0;
  if (limited && request.sort_order() == RangeRequest::NONE && !filters && kvs.size() > limit + 1) {
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

}  // namespace raftkv
