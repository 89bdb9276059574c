// Shows how to run a member within a program. Usage: raftkv_embedded_example DIRECTORY PORT
// Runs a cluster of one member with its data in DIRECTORY, on PORT (for clients) and PORT + 1 of
// the loopback interface. Counts the starts of the program in a key. Exits 0 on success.
#include <raftkv.h>
#include <raftkv/server.h>

#include <iostream>
#include <string>

using raftkv::client::Client;
using raftkv::server::Server;

namespace {

absl::Status CountStart(Client& client) {
  const auto last = client.Get("embedded-example/starts");
  if (!last.ok()) return last.status();
  const int starts = (*last ? std::stoi((*last)->value) : 0) + 1;
  const auto put = client.Put("embedded-example/starts", std::to_string(starts));
  if (put.ok()) std::cout << "start number " << starts << "\n";
  return put.status();
}

absl::Status Run(const std::string& directory, int port) {
  const std::string client_url = "http://127.0.0.1:" + std::to_string(port);
  const std::string peer_url = "http://127.0.0.1:" + std::to_string(port + 1);
  const auto server = Server::Start({.toml = "[cluster]\nname = \"embedded\"\n"
                                             "[[member]]\nname = \"n1\"\n"
                                             "client_url = \"" +
                                             client_url +
                                             "\"\n"
                                             "peer_url = \"" +
                                             peer_url +
                                             "\"\n"
                                             "data_dir = \"" +
                                             directory + "\"\n"});
  if (!server.ok()) return server.status();

  const auto client = (*server)->NewClient();
  if (absl::Status status = CountStart(*client); !status.ok()) return status;

  // Others connect as to any member.
  const auto remote = Client::Connect({.endpoints = {(*server)->client_url()}});
  if (!remote.ok()) return remote.status();
  const auto seen = (*remote)->Get("embedded-example/starts");
  if (!seen.ok()) return seen.status();
  std::cout << "others see " << (*seen)->value << "\n";

  (*server)->Stop();
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: raftkv_embedded_example DIRECTORY PORT\n";
    return 128;
  }
  const absl::Status status = Run(argv[1], std::stoi(argv[2]));
  if (!status.ok()) {
    std::cerr << status.message() << "\n";
    return 1;
  }
  return 0;
}
