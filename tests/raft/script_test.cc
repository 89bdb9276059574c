// Transcripts. Each file scripts/*.txt has commands to a small cluster ("> deliver 1->2"), and
// after each command all messages and events that it caused. A test fails if any line differs.
// After an intended change run `raft_test --rewrite`, which updates the files, and review the diff.
//
//   nodes N [setting=value ...]       start N members; settings are fields of Config
//   disk ID term=T vote=V commit=C log=1,1,2    (before nodes) the initial contents of a disk
//   tick ID N                         N ticks of one member
//   run N                             N ticks of all members; all messages are delivered
//   campaign ID                       tick one member until it asks for votes
//   propose ID TEXT... | read ID NUMBER | stepdown ID | voting ID on|off | unreachable ID PEER
//   change ID CONFIGURATION           ID proposes other members: "1,2,3" or, with learners, "1,2+3"
//   join ID                           start a member that knows no other one
//   transfer ID TARGET                ID hands its leadership over to TARGET
//   lost ID PEER                      the connection on which PEER sent its appends was aborted
//   deliver A->B [N]                  deliver the Nth undelivered message (default: the first)
//   repeat A->B [N]                   deliver a copy of it; it stays undelivered
//   drop A->B [N] | drop all          drop it; deliver and drop also take "all" instead of N
//   stabilize                         deliver messages until there are none
//   cut A B | isolate A | recover     change the connections of the network
//   wire                              list the undelivered messages
//   hold ID | saved ID [N] | release ID    hold the saves of a member; end N of them; end all
//   crash ID | start ID | restart ID | status [ID] | log ID

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "tests/raft/network.h"

namespace raftkv::raft {
namespace {

using Words = std::vector<std::string>;

uint64_t Number(absl::string_view text) {
  uint64_t number = 0;
  EXPECT_TRUE(absl::SimpleAtoi(text, &number)) << "not a number: " << text;
  return number;
}

class Script {
 public:
  // Runs one command. Returns the messages and events that it caused.
  std::string Run(const Words& words) {
    trace_.clear();
    if (words[0] == "disk") {
      Disk(words);
    } else if (words[0] == "nodes") {
      Nodes(words);
    } else if (!net_) {
      ADD_FAILURE() << "the first command is nodes";
    } else if (!Wire(words) && !Member(words)) {
      ADD_FAILURE() << "unknown command: " << words[0];
    }
    std::string out;
    for (const std::string& line : trace_) absl::StrAppend(&out, line, "\n");
    return out;
  }

 private:
  void Disk(const Words& words) {
    HardState state;
    std::vector<Term> terms;
    for (size_t i = 2; i < words.size(); ++i) {
      const std::pair<std::string, std::string> setting = absl::StrSplit(words[i], '=');
      if (setting.first == "term") state.current_term = Number(setting.second);
      if (setting.first == "vote") state.voted_for = Number(setting.second);
      if (setting.first == "commit") state.commit_index = Number(setting.second);
      if (setting.first != "log") continue;
      for (auto term : absl::StrSplit(setting.second, ',')) terms.push_back(Number(term));
    }
    disks_[Number(words[1])] = MemoryDisk(state, LogOfTerms(terms));
  }

  void Nodes(const Words& words) {
    for (MemberId id = 1; id <= Number(words[1]); ++id) disks_[id];
    net_ = std::make_unique<Network>(disks_, [&](Config& config) {
      for (size_t i = 2; i < words.size(); ++i) {
        const std::pair<std::string, std::string> setting = absl::StrSplit(words[i], '=');
        const uint64_t value = Number(setting.second);
        if (setting.first == "append_entries_max")
          config.append_entries_max = value;
        else if (setting.first == "inflight_messages_max")
          config.inflight_messages_max = value;
        else if (setting.first == "committed_bytes_max")
          config.committed_bytes_max = value;
        else if (setting.first == "seed")
          config.seed = value;
        else
          ADD_FAILURE() << "unknown setting: " << setting.first;
      }
    });
    net_->trace = &trace_;
  }

  // Runs a command about the network or the whole cluster. False: it is another command.
  bool Wire(const Words& words) {
    const std::string& verb = words[0];
    if (verb == "deliver" || verb == "repeat" || verb == "drop") {
      Messages(words);
    } else if (verb == "stabilize") {
      net_->Stabilize();
    } else if (verb == "run") {
      net_->RunFor(Number(words[1]));
    } else if (verb == "cut") {
      net_->Cut(Number(words[1]), Number(words[2]));
    } else if (verb == "isolate") {
      net_->Isolate(Number(words[1]));
    } else if (verb == "recover") {
      net_->Recover();
    } else if (verb == "wire") {
      for (const Message& message : net_->wire()) trace_.push_back(Describe(message));
    } else if (verb == "status" && words.size() == 1) {
      for (const auto& [id, member] : net_->members()) {
        trace_.push_back(member.down ? absl::StrCat(id, ": down") : Describe((*net_)[id].status()));
      }
    } else {
      return false;
    }
    return true;
  }

  void Messages(const Words& words) {
    if (words[1] == "all") return net_->DropAll();
    const std::pair<std::string, std::string> ends =
        absl::StrSplit(words[1], absl::MaxSplits("->", 1));
    const MemberId from = Number(ends.first);
    const MemberId to = Number(ends.second);
    const bool all = words.size() > 2 && words[2] == "all";
    const size_t nth = words.size() > 2 && !all ? Number(words[2]) - 1 : 0;
    if (words[0] == "deliver") {
      bool delivered = false;
      while (net_->Deliver(from, to, nth)) {
        delivered = true;
        if (!all) break;
      }
      if (!delivered) trace_.push_back("no such message");
      return;
    }
    size_t seen = 0;
    for (auto it = net_->wire().begin(); it != net_->wire().end();) {
      const bool match = it->from == from && it->to == to && (all || seen++ == nth);
      if (match && words[0] == "repeat") return net_->Step(Message(*it));
      it = match ? net_->wire().erase(it) : it + 1;
    }
  }

  // Runs a command about one member. False: it is another command.
  bool Member(const Words& words) {
    const std::string& verb = words[0];
    const MemberId id = Number(words.at(1));
    if (verb == "join") {
      net_->Join(id);
      return true;
    }
    Network::Member& member = net_->member(id);
    if (verb == "tick") {
      net_->Tick(id, words.size() > 2 ? Number(words[2]) : 1);
    } else if (verb == "campaign") {
      net_->Campaign(id);
    } else if (verb == "propose") {
      for (size_t i = 2; i < words.size(); ++i) {
        net_->Into(id, [&](Raft& raft) { Proposed(raft.Propose(Payload(words[i]))); });
      }
      net_->Turn(id);
    } else if (verb == "change") {
      net_->Into(id,
                 [&](Raft& raft) { Proposed(raft.ProposeConfiguration(Payload(words.at(2)))); });
      net_->Turn(id);
    } else if (verb == "read") {
      net_->Read(id, Number(words[2]));
    } else if (verb == "stepdown") {
      net_->Into(id, [](Raft& raft) { raft.StepDown(); });
      net_->Turn(id);
    } else if (verb == "voting") {
      net_->Into(id, [&](Raft& raft) { raft.SetVoting(words[2] == "on"); });
      net_->Turn(id);
    } else if (verb == "unreachable") {
      net_->Into(id, [&](Raft& raft) { raft.OnUnreachable(Number(words[2])); });
      net_->Turn(id);
    } else if (verb == "transfer") {
      net_->Transfer(id, Number(words[2]));
    } else if (verb == "lost") {
      net_->Lose(id, Number(words[2]));
    } else if (verb == "hold") {
      member.hold_saves = true;
    } else if (verb == "saved") {
      net_->Saved(id, words.size() > 2 ? Number(words[2]) : 1);
    } else if (verb == "release") {
      member.hold_saves = false;
      net_->Saved(id, member.unsaved.size());
      net_->Turn(id);
    } else if (verb == "crash") {
      net_->Crash(id);
    } else if (verb == "start") {
      net_->Start(id);
    } else if (verb == "restart") {
      net_->Restart(id);
    } else if (verb == "status") {
      trace_.push_back(Describe((*net_)[id].status()));
    } else if (verb == "log") {
      trace_.push_back(absl::StrCat("on disk ", Describe(member.disk.entries())));
    } else {
      return false;
    }
    return true;
  }

  void Proposed(ProposeResult result) {
    if (result == ProposeResult::kNotLeader) trace_.push_back("declined: not the leader");
    if (result == ProposeResult::kTransferring) trace_.push_back("declined: transferring");
    if (result == ProposeResult::kChangePending) trace_.push_back("declined: a change is pending");
    if (result == ProposeResult::kTooManyRequests) trace_.push_back("declined: too many requests");
  }

  std::map<MemberId, MemoryDisk> disks_;
  std::unique_ptr<Network> net_;
  std::vector<std::string> trace_;
};

// Runs the commands of `text`. Returns its comments and commands, with the current output.
std::string Replay(const std::string& text) {
  Script script;
  std::string out;
  for (absl::string_view line : absl::StrSplit(absl::StripSuffix(text, "\n"), '\n')) {
    const bool kept = line.empty() || line[0] == '#' || line[0] == '>';
    if (kept) absl::StrAppend(&out, line, "\n");
    if (absl::ConsumePrefix(&line, ">")) {
      const Words words = absl::StrSplit(line, ' ', absl::SkipEmpty());
      absl::StrAppend(&out, script.Run(words));
    }
  }
  return out;
}

class Transcript : public ::testing::TestWithParam<std::filesystem::path> {};

TEST_P(Transcript, IsAsWritten) {
  std::stringstream text;
  text << std::ifstream(GetParam()).rdbuf();
  const std::string replayed = Replay(text.str());
  if (std::getenv("RAFTKV_REWRITE_SCRIPTS") != nullptr) {
    std::ofstream(GetParam()) << replayed;
  } else {
    EXPECT_EQ(replayed, text.str())
        << "if the change is intended, run raft_test --rewrite and review the diff";
  }
}

std::vector<std::filesystem::path> Scripts() {
  std::vector<std::filesystem::path> paths;
  for (const auto& file : std::filesystem::directory_iterator(RAFTKV_SCRIPTS)) {
    if (file.path().extension() == ".txt") paths.push_back(file.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

INSTANTIATE_TEST_SUITE_P(Raft, Transcript, ::testing::ValuesIn(Scripts()),
                         [](const auto& info) { return info.param.stem().string(); });

}  // namespace
}  // namespace raftkv::raft
