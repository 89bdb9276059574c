// Pages of raftkv/pages.h.
//
// A page is a Range with a limit on the number of keys. The limit follows from the size of the
// pairs in the page before. If they suddenly become larger, the answer would have more than
// page_bytes: a client of its own, which accepts no larger answer, keeps it from being received.
// Then the same page is read again with half the limit.
#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "client/raftkv.h"

namespace raftkv::client {
namespace {

constexpr int64_t kFirstLimit = 64;
constexpr int64_t kLimitMax = 1 << 20;
// About what a pair takes in an answer besides its key and value.
constexpr size_t kPairOverhead = 48;

// The first text is gRPC's, of the client's own limit, the second one raftkv's, of the member's.
bool IsTooLarge(const absl::Status& error) {
  return absl::IsResourceExhausted(error) &&
         (absl::StrContains(error.message(), "larger than max") ||
          absl::StrContains(error.message(), "response is too large"));
}

size_t BytesOf(const std::vector<KeyValue>& kvs) {
  size_t bytes = 0;
  for (const KeyValue& kv : kvs) bytes += kv.key.size() + kv.value.size() + kPairOverhead;
  return bytes;
}

}  // namespace

class Pages::Impl {
 public:
  Impl(Client* client, std::unique_ptr<Client> limited, Keys keys, const PageOptions& options)
      : client_(*client),
        limited_(std::move(limited)),
        rest_(std::move(keys)),
        page_bytes_(std::max<size_t>(options.page_bytes, 1)),
        keys_only_(options.keys_only),
        revision_(options.revision) {}

  bool Next(const CallOptions& call) {
    page_.clear();
    status_ = absl::OkStatus();
    if (!more_) return false;
    absl::StatusOr<RangeResult> range = Read(*limited_, call);
    while (IsTooLarge(range.status()) && limit_ > 1) {
      limit_ /= 2;
      range = Read(*limited_, call);
    }
    if (IsTooLarge(range.status())) range = Read(client_, call);
    if (!range.ok()) {
      status_ = range.status();
      return false;
    }
    Take(*std::move(range));
    return !page_.empty();
  }

  const std::vector<KeyValue>& page() const { return page_; }
  const absl::Status& status() const { return status_; }
  int64_t revision() const { return revision_; }

 private:
  absl::StatusOr<RangeResult> Read(Client& client, const CallOptions& call) const {
    return client.Call(
        RangeRequest(rest_, {.limit = limit_, .revision = revision_, .keys_only = keys_only_}),
        call);
  }

  void Take(RangeResult range) {
    if (revision_ == 0) revision_ = range.header.revision;
    page_ = std::move(range.kvs);
    more_ = range.more && !page_.empty();
    if (!more_) return;
    rest_ = Keys::Range(page_.back().key + '\0', rest_.range_end());
    const size_t fit = page_bytes_ / 4 * 3 / (BytesOf(page_) / page_.size());
    limit_ = std::clamp(static_cast<int64_t>(fit), int64_t{1}, std::min(2 * limit_, kLimitMax));
  }

  Client& client_;
  const std::unique_ptr<Client> limited_;
  Keys rest_;  // the keys that were not read yet
  const size_t page_bytes_;
  const bool keys_only_;
  int64_t revision_;  // 0: not known yet
  int64_t limit_ = kFirstLimit;
  bool more_ = true;
  std::vector<KeyValue> page_;
  absl::Status status_;
};

Pages Client::Pages(const Keys& keys, const PageOptions& options) {
  return client::Pages(
      std::make_unique<client::Pages::Impl>(this, Limited(options.page_bytes), keys, options));
}

Pages::Pages(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Pages::Pages(Pages&&) noexcept = default;
Pages& Pages::operator=(Pages&&) noexcept = default;
Pages::~Pages() = default;
bool Pages::Next(const CallOptions& options) { return impl_->Next(options); }
const std::vector<KeyValue>& Pages::page() const { return impl_->page(); }
const absl::Status& Pages::status() const { return impl_->status(); }
int64_t Pages::revision() const { return impl_->revision(); }

}  // namespace raftkv::client
