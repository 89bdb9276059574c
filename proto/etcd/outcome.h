#ifndef RAFTKV_PROTO_ETCD_OUTCOME_H_
#define RAFTKV_PROTO_ETCD_OUTCOME_H_

// What etcd's API cannot say, in the trailing metadata of a failed write. etcd has one text,
// "request timed out", for a write that may happen yet and for one that was never proposed to
// anybody; whoever knows this key can tell, and may repeat the latter. Other clients ignore it.

namespace raftkv {

inline constexpr char kOutcomeKey[] = "raftkv-outcome";
inline constexpr char kNotProposed[] = "not-proposed";

}  // namespace raftkv

#endif  // RAFTKV_PROTO_ETCD_OUTCOME_H_
