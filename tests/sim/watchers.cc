#include "tests/sim/watchers.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/sim/world.h"

namespace raftkv::sim {

using etcdserverpb::WatchCreateRequest;
using etcdserverpb::WatchRequest;

namespace {

constexpr size_t kWatchesMax = 4;  // of one client

}  // namespace

Watchers::Watchers(World* world, int clients) : world_(*world) {
  for (int i = 0; i < clients; ++i) clients_.emplace_back(&world->ledger().model());
}

void Watchers::OnDown(int member) {
  for (Client& client : clients_) {
    if (client.member == member) client.stream.reset();
  }
}

void Watchers::Connect(Client* client) {
  client->stream.reset();
  client->member = world_.SomeMember(/*up=*/true);
  if (client->member < 0 || world_.member(client->member).dead()) return;
  client->stream = world_.member(client->member).hub()->Open([] {});
  client->client.Connect();
}

void Watchers::Serve(int number) {
  Client& client = clients_[number];
  Rng& rng = world_.rng();
  const Profile& faults = world_.faults();
  world_.ScheduleWatcher(number, 1 + rng.Around(faults.watch_think));
  const bool leaves =
      rng.Chance(faults.watch_leaves) || !world_.TakesPart(std::max(client.member, 0));
  if (client.stream == nullptr || leaves) Connect(&client);
  if (client.stream == nullptr || world_.member(client.member).dead()) return;
  Read(&client, rng.Between(1, 8));
  if (client.stream->WantsRequest()) Request(&client);
}

void Watchers::Read(Client* client, int64_t responses_max) {
  for (; responses_max > 0; --responses_max) {
    const std::optional<etcdserverpb::WatchResponse> response = client->stream->Take();
    if (!response.has_value()) return;
    const std::string wrong = client->client.OnResponse(*response);
    if (wrong.empty()) continue;
    world_.verdict().Fail("I12", absl::StrCat("n", client->member + 1, ": ", wrong, " in ",
                                              response->ShortDebugString().substr(0, 500)));
    return;
  }
}

void Watchers::Request(Client* client) {
  Rng& rng = world_.rng();
  if (client->client.open() < kWatchesMax && rng.Chance(world_.faults().watch_creates)) {
    client->client.Add(RandomCreate());
  }
  std::optional<WatchRequest> request = client->client.Next();
  if (!request && rng.Chance(20 * kPercent)) request.emplace().mutable_progress_request();
  if (!request && rng.Chance(kPercent)) request = client->client.CancelOne();
  if (!request) return;
  Member& member = world_.member(client->member);
  client->stream->OnRequest(*request, *member.state_machine().Snapshot(),
                            world_.clock_of(client->member));
}

WatchCreateRequest Watchers::RandomCreate() {
  Rng& rng = world_.rng();
  const Model::Moment now = world_.ledger().model().now();
  const auto key = [&] { return absl::StrFormat("k%02d", rng.Below(world_.profile().keys)); };
  WatchCreateRequest request;
  request.set_key(key());
  if (rng.Chance(30 * kPercent)) request.set_range_end(std::string(1, '\0'));
  if (rng.Chance(50 * kPercent)) request.set_range_end(std::max(request.key(), key()) + '\0');
  if (rng.Chance(70 * kPercent)) {
    const Revision first = std::max<Revision>(now.compacted - 3, 1);
    request.set_start_revision(rng.Between(first, std::max(first, now.revision + 2)));
  }
  request.set_prev_kv(rng.Chance(60 * kPercent));
  request.set_fragment(rng.Chance(30 * kPercent));
  request.set_progress_notify(rng.Chance(30 * kPercent));
  if (rng.Chance(10 * kPercent)) request.add_filters(WatchCreateRequest::NOPUT);
  if (rng.Chance(10 * kPercent)) request.add_filters(WatchCreateRequest::NODELETE);
  return request;
}

std::string Watchers::CheckComplete() const {
  for (const Client& client : clients_) {
    if (std::string wrong = client.client.CheckComplete(); !wrong.empty()) return wrong;
  }
  return "";
}

void Watchers::CountMarks() {
  Marks& marks = world_.marks();
  for (const Client& client : clients_) {
    const WatchClient::Counts& counts = client.client.counts();
    if (counts.compacted > 0) marks.Hit(Mark::kWatchCompacted);
    if (counts.resumed > 0) marks.Hit(Mark::kWatchResumed);
    if (counts.progress > 0) marks.Hit(Mark::kWatchProgress);
    if (counts.notified > 0) marks.Hit(Mark::kWatchNotified);
    if (counts.fragments > 0) marks.Hit(Mark::kWatchFragment);
    if (counts.batches > 0) marks.Hit(Mark::kWatchBatch);
  }
}

}  // namespace raftkv::sim
