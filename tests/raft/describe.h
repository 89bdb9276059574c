#ifndef RAFTKV_TESTS_RAFT_DESCRIBE_H_
#define RAFTKV_TESTS_RAFT_DESCRIBE_H_

// The core's values in one line of words each, for transcripts and failures. An entry is written
// term/index.

#include <string>
#include <vector>

#include "server/raft/raft.h"

namespace raftkv::raft {

std::string Describe(EntryId id);
std::string Describe(const Entry& entry);
std::string Describe(const std::vector<Entry>& entries);
std::string Describe(const Message& message);
std::string Describe(const Event& event);
std::string Describe(const ReadIndexResult& result);
std::string Describe(const Status& status);

}  // namespace raftkv::raft

#endif  // RAFTKV_TESTS_RAFT_DESCRIBE_H_
