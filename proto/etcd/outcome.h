#ifndef RAFTKV_PROTO_ETCD_OUTCOME_H_
#define RAFTKV_PROTO_ETCD_OUTCOME_H_

// How the server tells a client that a request may be repeated, or must not be.
//
// Trailing metadata of a write, which etcd's API does not have. Other clients ignore it.
//
// etcd has one error, "request timed out", both for a write that may still happen and for a write
// that was never proposed. A raftkv server marks the second kind with kOutcomeKey = kNotProposed. A
// client that knows the key may repeat such a write.
//
// The other values are about writes of a session (metadata.h). kDecided: the write has failed, and
// no other attempt of it, earlier or later, has another outcome. kReduced: the write was applied
// once, by an earlier attempt, whose answer was too large to be stored. The response lacks earlier
// values and the responses of a transaction's operations.

namespace raftkv {

inline constexpr char kOutcomeKey[] = "raftkv-outcome";
inline constexpr char kNotProposed[] = "not-proposed";
inline constexpr char kDecided[] = "decided";
inline constexpr char kReduced[] = "reduced";

// The text of a status, etcd's. A bound of the server was reached before anything was proposed, so
// any request with this status may be repeated.
inline constexpr char kTooManyRequests[] = "etcdserver: too many requests";

}  // namespace raftkv

#endif  // RAFTKV_PROTO_ETCD_OUTCOME_H_
