#ifndef RAFTKV_SERVER_EMBEDDED_LOCAL_CLIENT_H_
#define RAFTKV_SERVER_EMBEDDED_LOCAL_CLIENT_H_

// A client of the member that runs in the same process.

#include <memory>
#include <string>

#include "client/raftkv.h"
#include "server/local_calls.h"

namespace raftkv {

// Calls go through `calls`, and streams through a connection to `client_url`, a URL as in the
// configuration. Of the options, `endpoints` and `exactly_once` are not used.
std::unique_ptr<client::Client> MakeLocalClient(std::shared_ptr<LocalCalls> calls,
                                                const std::string& client_url,
                                                const client::Options& options);

}  // namespace raftkv

#endif  // RAFTKV_SERVER_EMBEDDED_LOCAL_CLIENT_H_
