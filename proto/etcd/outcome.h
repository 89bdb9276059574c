#ifndef RAFTKV_PROTO_ETCD_OUTCOME_H_
#define RAFTKV_PROTO_ETCD_OUTCOME_H_

// Trailing metadata of a failed write. etcd's API has one error, "request timed out", both for a
// write that may still happen and for a write that was never proposed. A raftkv server marks the
// second kind with kOutcomeKey = kNotProposed. A client that knows the key may repeat such a write.
// Other clients ignore it.

namespace raftkv {

inline constexpr char kOutcomeKey[] = "raftkv-outcome";
inline constexpr char kNotProposed[] = "not-proposed";

}  // namespace raftkv

#endif  // RAFTKV_PROTO_ETCD_OUTCOME_H_
