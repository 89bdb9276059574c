// A program of another project. It uses only the installed files of raftkv. No server listens at
// the endpoint, so the call must fail as never sent.
#include <raftkv.h>
#include <raftkv/watch.h>  // a part of it; may be included alone

#include <iostream>

using raftkv::client::Client;

int main() {
  const auto client = Client::Connect({.endpoints = {"127.0.0.1:1"},
                                       .dial_timeout = absl::Seconds(1),
                                       .request_timeout = absl::Seconds(1)});
  if (!client.ok()) {
    std::cerr << client.status() << "\n";
    return 1;
  }
  const auto txn = (*client)->Txn(
      {.when = {raftkv::client::Version("k") == 0}, .then = {raftkv::client::Op::Put("k", "v")}});
  std::cout << txn.status().message() << "\n";
  return raftkv::client::NeverSent(txn.status()) ? 0 : 1;
}
