// What Request (raftkv/request.h) holds. Client::Impl sends it without knowing its types.
#ifndef RAFTKV_CLIENT_REQUEST_H_
#define RAFTKV_CLIENT_REQUEST_H_

#include <google/protobuf/message.h>

#include <memory>

#include "client/failure.h"
#include "client/raftkv/request.h"

namespace raftkv::client {

struct AnyRequest {
  Kind kind;
  const char* name;  // the method, for example "KV.Range"
  std::unique_ptr<const google::protobuf::Message> message;
  const google::protobuf::Message* response;  // an empty message of the response's type
  bool of_keys = false;                       // a write that Options::exactly_once covers
};

// LeaseGrant that may be repeated like a read: it may grant leases that nobody learns of. They
// expire.
Request<LeaseGrantResult> AnyLeaseGrantRequest(int64_t ttl);

template <typename Result>
struct Request<Result>::Rep {
  AnyRequest any;
  Result (*result)(google::protobuf::Message&& response);
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_REQUEST_H_
