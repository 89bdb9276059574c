#ifndef RAFTKV_TESTS_SIM_WATCHERS_H_
#define RAFTKV_TESTS_SIM_WATCHERS_H_

// Clients that watch. Each client has a stream to some member, with several watches. It reads the
// stream at random times, slowly in some seeds. When its member dies, and at random times, it
// resumes its watches at another member. Every response is checked against the model
// (tests/model/watch_checker.h).

#include <memory>
#include <string>
#include <vector>

#include "server/watch/hub.h"
#include "tests/model/watch_client.h"

namespace raftkv::sim {

class World;

class Watchers {
 public:
  Watchers(World* world, int clients);

  // Call it regularly for each client. The client reads responses and sends requests.
  void Serve(int client);
  // The member's life ends: its streams break.
  void OnDown(int member);
  // Empty if every watch has got every event.
  std::string CheckComplete() const;
  // Call it at the end of a run.
  void CountMarks();

 private:
  struct Client {
    explicit Client(const Model* model) : client(model) {}
    WatchClient client;
    int member = -1;
    std::unique_ptr<watch::Stream> stream;  // null: the client is not connected
  };

  void Connect(Client* client);
  void Request(Client* client);
  void Read(Client* client, int64_t responses_max);
  etcdserverpb::WatchCreateRequest RandomCreate();

  World& world_;
  std::vector<Client> clients_;
};

}  // namespace raftkv::sim

#endif  // RAFTKV_TESTS_SIM_WATCHERS_H_
