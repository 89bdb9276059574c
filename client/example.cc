// Shows how to use the client library. Usage: raftkv_example ENDPOINT [ENDPOINT...]
// Writes, reads, increments and deletes a few keys under "example/". Exits 0 on success.
#include <iostream>
#include <optional>
#include <string>

#include "client/raftkv.h"

using namespace raftkv::client;  // NOLINT: keeps the example short

namespace {

// Adds to a number that others may change at the same time: reads it, and writes the sum only if
// nobody has written the key since (compare and swap). Otherwise it tries again with the new value.
// Each failed attempt means that another client succeeded.
absl::StatusOr<int> Add(Client& client, const std::string& key, int summand) {
  const auto first = client.Get(key);
  if (!first.ok()) return first.status();
  std::optional<KeyValue> seen = *first;
  while (true) {
    const int sum = (seen ? std::stoi(seen->value) : 0) + summand;
    const auto txn = client.Txn({.when = {ModRevision(key) == (seen ? seen->mod_revision : 0)},
                                 .then = {Op::Put(key, std::to_string(sum))},
                                 .otherwise = {Op::Get(key)}});
    if (!txn.ok()) return txn.status();  // with OutcomeUnknown, it may have been added
    if (txn->succeeded) return sum;
    const auto& kvs = std::get<RangeResult>(txn->results[0]).kvs;
    seen = kvs.empty() ? std::nullopt : std::optional(kvs[0]);
  }
}

absl::Status Run(Client& client) {
  const auto put = client.Put("example/colour", "blue");
  if (!put.ok()) return put.status();
  std::cout << "written at revision " << put->header.revision << "\n";

  const auto changed = client.Put("example/colour", "green", {.prev_kv = true});
  if (!changed.ok()) return changed.status();
  if (changed->prev_kv) std::cout << "it was " << changed->prev_kv->value << "\n";

  const auto now = client.Get("example/colour");
  if (!now.ok()) return now.status();
  if (*now) std::cout << "now it is " << (*now)->value << "\n";

  const auto then = client.Get("example/colour", {.revision = put->header.revision});
  if (!then.ok()) return then.status();
  if (*then)
    std::cout << "at revision " << put->header.revision << " it was " << (*then)->value << "\n";

  const auto size = client.Put("example/size", "42");
  if (!size.ok()) return size.status();
  const auto sum = Add(client, "example/size", 8);
  if (!sum.ok()) return sum.status();
  std::cout << "the size is now " << *sum << "\n";

  const auto all = client.Range(Keys::Prefix("example/"), {.limit = 10});
  if (!all.ok()) return all.status();
  for (const auto& kv : all->kvs) std::cout << kv.key << " = " << kv.value << "\n";

  const auto gone = client.Delete(Keys::Prefix("example/"));
  if (!gone.ok()) return gone.status();
  std::cout << "deleted " << gone->deleted << " keys\n";
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: raftkv_example ENDPOINT [ENDPOINT...]\n";
    return 128;
  }
  const auto client = Client::Connect({.endpoints = {argv + 1, argv + argc}});
  const absl::Status status = client.ok() ? Run(**client) : client.status();
  if (!status.ok()) {
    std::cerr << status.message() << "\n";
    if (OutcomeUnknown(status)) std::cerr << "read the key to find out\n";
    return 1;
  }
  return 0;
}
