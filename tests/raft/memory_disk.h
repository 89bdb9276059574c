#ifndef RAFTKV_TESTS_RAFT_MEMORY_DISK_H_
#define RAFTKV_TESTS_RAFT_MEMORY_DISK_H_

// A simple LogReader: a vector of entries and a hard state, which survive a simulated crash. Also
// the Config that all tests of the core share. Its limits are tiny, so that every test reaches
// them.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "server/raft/config.h"
#include "server/raft/ready.h"
#include "storage/log/log_reader.h"

namespace raftkv::raft {

// The tests' encoding of a configuration: "1,2,3" or, with learners, "1,2,3+4,5".
inline Configuration ConfigurationOf(std::string_view text) {
  Configuration configuration;
  std::vector<MemberId>* to = &configuration.voters;
  MemberId id = 0;
  for (const char c : std::string(text) + ",") {
    if (c >= '0' && c <= '9') {
      id = id * 10 + static_cast<MemberId>(c - '0');
      continue;
    }
    if (id != 0) to->push_back(std::exchange(id, 0));
    if (c == '+') to = &configuration.learners;
  }
  return configuration;
}

inline Config TestConfig(MemberId id) {
  Config config;
  config.id = id;
  config.configuration_of = ConfigurationOf;
  config.election_timeout_ticks = 10;
  config.heartbeat_ticks = 2;
  config.fast_campaign_ticks = 2;
  config.append_entries_max = 4;
  config.append_bytes_max = 256;
  config.inflight_messages_max = 3;
  config.inflight_bytes_max = 1024;
  config.uncommitted_bytes_max = 1 << 16;
  config.committed_bytes_max = 256;
  config.pending_reads_max = 8;
  config.log_cache_bytes_max = 128;
  config.seed = 7;
  return config;
}

inline Entry Command(Term term, Index index, std::string text = "x") {
  return {{term, index}, EntryType::kCommand, Payload(std::move(text))};
}

// A log of commands with these terms. The first one has index 1.
inline std::vector<Entry> LogOfTerms(const std::vector<Term>& terms) {
  std::vector<Entry> entries;
  for (Term term : terms) entries.push_back(Command(term, entries.size() + 1));
  return entries;
}

// The chain hash of a log that was never cut.
inline uint64_t ChainOf(const std::vector<Entry>& entries) {
  uint64_t chain = 0;
  for (const Entry& entry : entries) chain = ChainAfter(chain, entry);
  return chain;
}

// The data that survives a crash. `before` is the entry before the first one, if the log was cut.
class MemoryDisk : public LogReader {
 public:
  MemoryDisk() = default;
  MemoryDisk(HardState state, std::vector<Entry> entries, EntryId before = {},
             uint64_t before_chain = 0)
      : state_(state), before_(before), before_chain_(before_chain), entries_(std::move(entries)) {}

  HardState hard_state() const override { return state_; }
  Index first_index() const override { return before_.index + 1; }
  Index last_index() const override { return before_.index + entries_.size(); }
  Term TermAt(Index index) const override {
    ++reads;
    return index == before_.index ? before_.term : entries_.at(index - before_.index - 1).id.term;
  }
  uint64_t ChainHash(Index index) const override {
    uint64_t chain = before_chain_;
    for (Index i = first_index(); i <= index; ++i) {
      chain = ChainAfter(chain, entries_.at(i - first_index()));
    }
    return chain;
  }
  std::vector<Entry> Entries(Index first, Index last, size_t bytes_max) const override {
    ++reads;
    std::vector<Entry> found;
    size_t bytes = 0;
    for (Index i = first; i <= last; ++i) {
      const Entry& entry = entries_.at(i - before_.index - 1);
      bytes += EntryBytes(entry);
      if (bytes > bytes_max && !found.empty()) break;
      found.push_back(entry);
    }
    return found;
  }

  void Save(const Ready& ready) {
    if (!ready.hard_state) return;
    ++syncs;
    if (ready.snapshot) {
      before_ = ready.snapshot->last;
      before_chain_ = ready.snapshot->chain_hash;
      entries_.clear();
    }
    state_ = *ready.hard_state;
    if (ready.entries.empty()) return;
    const Index first = ready.entries.front().id.index;
    ASSERT_LE(first, last_index() + 1) << "a gap in the log";
    entries_.resize(first - before_.index - 1);
    entries_.insert(entries_.end(), ready.entries.begin(), ready.entries.end());
  }

  // Removes the entries below `first`.
  void Cut(Index first) {
    const EntryId before{TermAt(first - 1), first - 1};
    before_chain_ = ChainHash(first - 1);
    entries_.erase(entries_.begin(), entries_.begin() + static_cast<long>(first - first_index()));
    before_ = before;
  }

  const std::vector<Entry>& entries() const { return entries_; }

  mutable size_t reads = 0;
  size_t syncs = 0;

 private:
  HardState state_;
  EntryId before_;
  uint64_t before_chain_ = 0;
  std::vector<Entry> entries_;
};

}  // namespace raftkv::raft

#endif  // RAFTKV_TESTS_RAFT_MEMORY_DISK_H_
