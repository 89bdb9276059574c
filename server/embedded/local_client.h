#ifndef RAFTKV_SERVER_EMBEDDED_LOCAL_CLIENT_H_
#define RAFTKV_SERVER_EMBEDDED_LOCAL_CLIENT_H_

// A client of the member that runs in the same process.

#include <memory>

#include "client/raftkv.h"
#include "server/local_calls.h"

namespace raftkv {

// Of the options, `request_timeout` and `on_call_end` are used.
std::unique_ptr<client::Client> MakeLocalClient(std::shared_ptr<LocalCalls> calls,
                                                const client::Options& options);

}  // namespace raftkv

#endif  // RAFTKV_SERVER_EMBEDDED_LOCAL_CLIENT_H_
