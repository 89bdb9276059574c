#ifndef RAFTKV_TESTS_SIM_WATCHERS_H_
#define RAFTKV_TESTS_SIM_WATCHERS_H_

// Clients that watch. Each has several watches on a stream to some member, reads it now and then,
// slowly in some seeds, and resumes its watches at another member when its own dies, or at will.
// Every response is checked against the model (tests/model/watch_checker.h).

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

  // Called regularly for each client: it reads responses, and sends requests.
  void Look(int client);
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
    std::unique_ptr<watch::Stream> stream;  // null: it is not connected
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
