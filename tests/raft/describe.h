#ifndef RAFTKV_TESTS_RAFT_DESCRIBE_H_
#define RAFTKV_TESTS_RAFT_DESCRIBE_H_

// Formats values of the core as one line of text, for transcripts and failure messages. An entry is
// written as term/index.

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
