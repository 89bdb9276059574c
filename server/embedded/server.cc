// Server of raftkv/server.h: a member within another program.
#include "server/embedded/raftkv/server.h"

#include <utility>

#include "config/config.h"
#include "server/embedded/local_client.h"
#include "server/server.h"

namespace raftkv::server {

class Server::Impl {
 public:
  Impl(std::unique_ptr<raftkv::Server> server, std::string client_url)
      : server_(std::move(server)),
        calls_(server_->local_calls()),
        client_url_(std::move(client_url)) {}

  void Stop() { server_->Stop(); }
  const std::shared_ptr<LocalCalls>& calls() const { return calls_; }
  const std::string& client_url() const { return client_url_; }

 private:
  const std::unique_ptr<raftkv::Server> server_;
  const std::shared_ptr<LocalCalls> calls_;
  const std::string client_url_;
};

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Config& config) {
  if (config.file.empty() == config.toml.empty()) {
    return absl::InvalidArgumentError("set either `file` or `toml` of the configuration");
  }
  const absl::StatusOr<raftkv::Config> read =
      config.file.empty() ? ParseConfig(config.toml) : LoadConfig(config.file);
  if (!read.ok()) return read.status();
  const absl::StatusOr<size_t> self = FindMember(*read, config.member);
  if (!self.ok()) return self.status();
  auto server = raftkv::Server::Start(
      *read, *self,
      {.join = config.join || read->cluster_state == "existing",
       .on_removed = config.on_removed != nullptr ? config.on_removed : [] {}});
  if (!server.ok()) return server.status();
  return std::unique_ptr<Server>(
      new Server(std::make_unique<Impl>(*std::move(server), read->members[*self].client_url)));
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;
void Server::Stop() { impl_->Stop(); }
std::unique_ptr<client::Client> Server::NewClient(const client::Options& options) const {
  return MakeLocalClient(impl_->calls(), impl_->client_url(), options);
}
const std::string& Server::client_url() const { return impl_->client_url(); }

}  // namespace raftkv::server
