// The verbs `member` and `move-leader`.

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "client/cli/cli.h"
#include "config/url.h"

namespace raftkv::client {
namespace {

int ListMembers(const Context& context) {
  const std::unique_ptr<Client> client = context.Connect();
  const auto members = client->MemberList();
  if (!members.ok()) return context.Fail(members.status());
  uint64_t leader = 0;
  if (context.format == Format::kTable) {
    if (const auto status = client->Status(); status.ok()) leader = status->leader;
  }
  context.MakeOutput().Members(*members, leader);
  return kExitOk;
}

std::unique_ptr<Client> ConnectTo(std::vector<std::string> endpoints, const Context& context) {
  Options options = context.ClientOptions();
  options.endpoints = std::move(endpoints);
  auto client = Client::Connect(std::move(options));
  return client.ok() ? *std::move(client) : nullptr;
}

// A connection to the leader: through one of the endpoints, else through its client URL. Null if
// there is none.
std::unique_ptr<Client> ConnectToLeader(const std::vector<Member>& members, uint64_t leader,
                                        const Context& context) {
  for (const std::string& endpoint : context.endpoints) {
    auto client = ConnectTo({endpoint}, context);
    if (client == nullptr) continue;
    const auto status = client->Status();
    if (status.ok() && status->header.member_id == leader) return client;
  }
  for (const Member& member : members) {
    if (member.id == leader && !member.client_urls.empty()) {
      return ConnectTo(member.client_urls, context);
    }
  }
  return nullptr;
}

// What to call a member in a message: its name or, before its first start, its ID.
std::string NameOf(const Member& member) {
  return member.name.empty() ? absl::StrCat(absl::Hex(member.id)) : member.name;
}

// The member with this id (hexadecimal, as printed by `member list`) or name. Null: there is none.
// InvalidArgument: it is the name of several members. etcd permits that, so the cluster does, too.
absl::StatusOr<const Member*> FindMember(const std::vector<Member>& members,
                                         const std::string& text) {
  uint64_t id = 0;
  const bool is_id = absl::SimpleHexAtoi(text, &id);
  std::vector<const Member*> named;
  for (const Member& member : members) {
    if (is_id && member.id == id) return &member;
    if (member.name == text) named.push_back(&member);
  }
  if (named.empty()) return nullptr;
  if (named.size() == 1) return named.front();
  return absl::InvalidArgumentError(
      absl::StrCat(named.size(), " members are named ", text, ": use the ID, ",
                   absl::StrJoin(named, " or ", [](std::string* out, const Member* member) {
                     absl::StrAppend(out, absl::Hex(member->id), " (",
                                     absl::StrJoin(member->peer_urls, ","), ")");
                   })));
}

// The error of `verb` when no member is found.
absl::Status NoSuchMember(const std::string& text, const std::vector<Member>& members) {
  std::vector<std::string> without_name;
  for (const Member& member : members) {
    if (member.name.empty()) without_name.push_back(NameOf(member));
  }
  const std::string remedy =
      without_name.empty()
          ? "see raftkv member list"
          : absl::StrCat("a member that has not started has no name yet: use its ID, ",
                         absl::StrJoin(without_name, " or "));
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is not the ID or name of a member; ", remedy));
}

// The ID of the one member with this ID or name.
absl::StatusOr<uint64_t> IdOf(const std::string& text, const std::vector<Member>& members) {
  const auto member = FindMember(members, text);
  if (!member.ok()) return member.status();
  if (*member == nullptr) return NoSuchMember(text, members);
  return (*member)->id;
}

int MoveLeader(const std::string& target, const Context& context) {
  if (context.format == Format::kTable) return context.NoTable();
  if (context.format == Format::kFields) {
    return context.Fail(kExitBadFormat, "fields not supported as output format");
  }
  const std::unique_ptr<Client> any = context.Connect();
  const auto list = any->MemberList();
  if (!list.ok()) return context.Fail(list.status());
  const absl::StatusOr<uint64_t> to = IdOf(target, list->members);
  if (!to.ok()) return context.BadArguments(absl::StrCat("move-leader: ", to.status().message()));
  const auto status = any->Status();
  if (!status.ok()) return context.Fail(status.status());
  if (status->leader == 0) return context.Fail(absl::UnavailableError("there is no leader now"));
  if (status->leader == *to) {
    context.MakeOutput().AlreadyLeader(*to);
    return kExitOk;
  }
  const auto leader = ConnectToLeader(list->members, status->leader, context);
  if (leader == nullptr) {
    return context.BadArguments(absl::StrCat("the leader is none of ",
                                             absl::StrJoin(context.endpoints, ","),
                                             " and has no client URL; name it with --endpoints"));
  }
  const absl::Status moved = leader->MoveLeader(*to);
  if (!moved.ok()) return context.Fail(moved);
  context.MakeOutput().MovedLeader(status->leader, *to);
  return kExitOk;
}

// --- changes of the members

struct ChangeArguments {
  std::string member;  // ID or name; of `add`: the name; of `replace`: the old one
  std::string with;    // of `replace`: the name of the new one
  std::vector<std::string> peer_urls;
  bool learner = false;
};

// Changes have no table and no fields, as in etcdctl.
int CheckFormat(const Context& context) {
  if (context.format == Format::kTable) return context.NoTable();
  if (context.format != Format::kFields) return kExitOk;
  return context.Fail(kExitBadFormat, "fields not supported as output format");
}

// The names of the voters that do not answer at their client URLs.
std::vector<std::string> SilentVoters(const std::vector<Member>& members, const Context& context) {
  std::vector<std::string> silent;
  for (const Member& member : members) {
    if (member.is_learner) continue;
    const auto client = ConnectTo(member.client_urls, context);
    if (client != nullptr && client->Status().ok()) continue;
    silent.push_back(NameOf(member));
  }
  return silent;
}

// What to do about an error of an addition or an update. Empty: nothing is known.
std::string RemedyOf(const absl::Status& error, const std::vector<std::string>& peer_urls,
                     Client* client, const Context& context) {
  if (absl::StrContains(error.message(), "URLs are invalid")) {
    for (const std::string& url : peer_urls) {
      const std::optional<UrlProblem> problem = ProblemOfUrl(url, kPeerPort);
      if (problem) return absl::StrCat("\"", url, "\" ", problem->what, "; ", problem->remedy);
    }
  }
  const bool unhealthy = absl::StrContains(error.message(), "unhealthy cluster");
  const bool too_many = absl::StrContains(error.message(), "too many learner members");
  if (!unhealthy && !too_many) return "";
  const auto list = client->MemberList();
  if (!list.ok()) return "";
  if (unhealthy) {
    const std::vector<std::string> silent = SilentVoters(list->members, context);
    return absl::StrCat("a voter cannot be added while ",
                        silent.empty() ? "another one" : absl::StrJoin(silent, ", "),
                        silent.size() > 1 ? " do" : " does",
                        " not answer; add it with --learner, or use raftkv member replace");
  }
  std::vector<std::string> learners;
  for (const Member& member : list->members) {
    if (!member.is_learner) continue;
    learners.push_back(NameOf(member));
  }
  return absl::StrCat("promote or remove ", absl::StrJoin(learners, ", "),
                      " first, or, if it is lost, use raftkv member replace");
}

int FailChange(const absl::Status& error, const std::vector<std::string>& peer_urls, Client* client,
               const Context& context) {
  const std::string remedy = RemedyOf(error, peer_urls, client, context);
  if (remedy.empty()) return context.Fail(error);
  return context.Fail(kExitFailed, absl::StrCat(error.message(), "; ", remedy));
}

int Add(const ChangeArguments& arguments, const Context& context) {
  if (const int code = CheckFormat(context); code != kExitOk) return code;
  const std::unique_ptr<Client> client = context.Connect();
  // The request does not have the name, which the new member tells when it starts.
  const auto list = client->MemberList();
  if (!list.ok()) return context.Fail(list.status());
  for (const Member& member : list->members) {
    if (member.name != arguments.member) continue;
    return context.BadArguments(
        absl::StrCat("member add: there is a member ", member.name, " already, with the ID ",
                     absl::Hex(member.id),
                     "; choose another name, or, if its disk is lost, use raftkv member "
                     "replace"));
  }
  const auto added = client->MemberAdd(arguments.peer_urls, arguments.learner);
  if (!added.ok()) return FailChange(added.status(), arguments.peer_urls, client.get(), context);
  context.MakeOutput().AddedMember(*added, arguments.member);
  return kExitOk;
}

// Runs `change` on the member that `arguments` names.
template <typename Change>
int ChangeMember(const char* verb, const ChangeArguments& arguments, const std::string& done,
                 const Context& context, Change change) {
  if (const int code = CheckFormat(context); code != kExitOk) return code;
  const std::unique_ptr<Client> client = context.Connect();
  const auto list = client->MemberList();
  if (!list.ok()) return context.Fail(list.status());
  const absl::StatusOr<uint64_t> id = IdOf(arguments.member, list->members);
  if (!id.ok()) return context.BadArguments(absl::StrCat(verb, ": ", id.status().message()));
  const absl::StatusOr<MemberListResult> result = change(client.get(), *id);
  if (!result.ok()) {
    return FailChange(result.status(), arguments.peer_urls, client.get(), context);
  }
  context.MakeOutput().ChangedMember(*result, *id, done);
  return kExitOk;
}

bool HasUrl(const Member& member, const std::string& peer_url) {
  return std::count(member.peer_urls.begin(), member.peer_urls.end(), peer_url) > 0;
}

// The new member of `replace`, as an earlier run or `member add` has added it: it has all given
// URLs and, if it has started, the given name. Null: no member has one of the URLs.
// InvalidArgument: another member has one of them, or the name.
absl::StatusOr<const Member*> FindAdded(const std::vector<Member>& members,
                                        const ChangeArguments& arguments) {
  const std::string& name = arguments.with;
  const Member* added = nullptr;
  for (const std::string& url : arguments.peer_urls) {
    for (const Member& member : members) {
      if (!HasUrl(member, url)) continue;
      if (!member.name.empty() && member.name != name) {
        return absl::InvalidArgumentError(
            absl::StrCat("member replace: ", url, " belongs to member ", member.name));
      }
      added = &member;
    }
  }
  for (const std::string& url : arguments.peer_urls) {
    if (added == nullptr || HasUrl(*added, url)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("member replace: ", name, " was added without the URL ", url,
                     "; give the same --peer-urls, or use raftkv member update"));
  }
  for (const Member& member : members) {
    if (member.name != name || &member == added) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("member replace: there is a member ", name,
                     " with another peer URL; choose another name for the new member"));
  }
  return added;
}

// What the new member still lacks, for the operator. Empty: it has applied the entry `target`.
std::string WhatIsMissing(const Member& added, const std::string& name, uint64_t target,
                          const Context& context) {
  if (added.name.empty()) {
    return absl::StrCat(name, " has not started yet; start it with: raftkv-server -c FILE -n ",
                        name, " --join");
  }
  const auto client = ConnectTo(added.client_urls, context);
  const auto reached = client == nullptr ? absl::UnavailableError("") : client->Status();
  if (!reached.ok()) return absl::StrCat(name, " does not answer at its client URL");
  if (reached->raft_applied_index >= target) return "";
  return absl::StrCat(name, " is catching up: it has applied entry ", reached->raft_applied_index,
                      " of ", target);
}

// Waits until the new member votes, and promotes it if it is a learner. A member that was added as
// a voter votes by itself once it has caught up, and clients see it as a voter before. Prints a
// line when what is missing has changed.
absl::Status AwaitVoter(Client* client, const ChangeArguments& arguments, const Context& context) {
  uint64_t first_target = 0;
  for (std::string told;; absl::SleepFor(absl::Seconds(1))) {
    const auto list = client->MemberList();
    if (!list.ok()) return list.status();
    const auto added = FindAdded(list->members, arguments);
    if (!added.ok()) return added.status();
    if (*added == nullptr) {
      return absl::NotFoundError(absl::StrCat(arguments.with, " was removed from the cluster"));
    }
    const Member& member = **added;
    if (member.is_learner && !member.name.empty()) {
      const absl::Status promoted = client->MemberPromote(member.id).status();
      if (promoted.ok()) return promoted;
      if (!absl::IsFailedPrecondition(promoted) && !absl::IsUnavailable(promoted)) return promoted;
    }
    const auto all = client->Status();
    if (!all.ok()) return all.status();
    if (first_target == 0) first_target = all->raft_index;
    const std::string missing = WhatIsMissing(
        member, arguments.with, member.is_learner ? all->raft_index : first_target, context);
    if (missing.empty() && !member.is_learner) return absl::OkStatus();
    if (!missing.empty() && missing != told) context.streams.err << missing << "\n" << std::flush;
    told = missing;
  }
}

// Replaces a learner, which may be dead: no majority needs it, and a cluster has at most one
// learner that was added as one. So it is removed first, and the new member stays a learner.
// `added`: the new member, if it was added already.
int ReplaceLearner(const Member& old, const Member* added, const ChangeArguments& arguments,
                   Client* client, const Context& context) {
  const absl::Status removed = client->MemberRemove(old.id).status();
  if (!removed.ok() && !absl::IsNotFound(removed)) return context.Fail(removed);
  if (added == nullptr) {
    const auto result = client->MemberAdd(arguments.peer_urls, /*learner=*/true);
    if (!result.ok()) {
      const std::string remedy = RemedyOf(result.status(), arguments.peer_urls, client, context);
      return context.Fail(
          kExitFailed,
          absl::StrCat(result.status().message(), remedy.empty() ? "" : "; ", remedy, "; learner ",
                       arguments.member, " was removed: add the new one with raftkv member add ",
                       arguments.with,
                       " --learner --peer-urls=", absl::StrJoin(arguments.peer_urls, ",")));
    }
    context.MakeOutput().AddedMember(*result, arguments.with);
  }
  if (context.format != Format::kJson) {
    context.streams.out << "Learner " << arguments.member << " is replaced by " << arguments.with
                        << "\n";
  }
  return kExitOk;
}

// Adds the new member as a learner, waits until it has caught up, promotes it, removes the old one.
// Each step looks at the members first, so an interrupted run can be repeated. The old member is
// removed only when the new one votes.
int Replace(const ChangeArguments& arguments, const Context& context) {
  if (const int code = CheckFormat(context); code != kExitOk) return code;
  const std::unique_ptr<Client> client = context.Connect();
  const auto list = client->MemberList();
  if (!list.ok()) return context.Fail(list.status());
  const auto found = FindMember(list->members, arguments.member);
  if (!found.ok()) {
    return context.BadArguments(absl::StrCat("member replace: ", found.status().message()));
  }
  const Member* const old = *found;
  for (const std::string& url : arguments.peer_urls) {
    if (old == nullptr || !HasUrl(*old, url)) continue;
    return context.BadArguments(absl::StrCat("member replace: ", url,
                                             " is a peer URL of the old member, ", NameOf(*old),
                                             "; give the new one another URL, for example with "
                                             "another port"));
  }
  const auto added = FindAdded(list->members, arguments);
  if (!added.ok()) return context.BadArguments(added.status().message());
  if (old == nullptr) {
    if (*added == nullptr || (*added)->name.empty() || (*added)->is_learner) {
      return context.BadArguments(absl::StrCat(
          "member replace: ", NoSuchMember(arguments.member, list->members).message()));
    }
    if (context.format != Format::kJson) {
      context.streams.out << "\"" << arguments.member
                          << "\" is not the ID or name of a member, and " << arguments.with
                          << " is a voter: it is replaced already\n";
    }
    return kExitOk;
  }
  if (old->is_learner) return ReplaceLearner(*old, *added, arguments, client.get(), context);
  if (*added == nullptr) {
    const auto result = client->MemberAdd(arguments.peer_urls, /*learner=*/true);
    if (!result.ok()) {
      return FailChange(result.status(), arguments.peer_urls, client.get(), context);
    }
    context.MakeOutput().AddedMember(*result, arguments.with);
    context.streams.out << std::flush;  // the progress on stderr comes after it, also in one file
  }
  const absl::Status votes = AwaitVoter(client.get(), arguments, context);
  if (absl::IsInvalidArgument(votes)) return context.BadArguments(votes.message());
  if (!votes.ok()) return context.Fail(votes);
  const absl::Status removed = client->MemberRemove(old->id).status();
  if (!removed.ok() && !absl::IsNotFound(removed)) return context.Fail(removed);
  if (context.format != Format::kJson) {
    context.streams.out << "Member " << arguments.member << " is replaced by " << arguments.with
                        << "\n";
  }
  return kExitOk;
}

void AddChanges(CLI::App* member, Context& context) {
  auto arguments = std::make_shared<ChangeArguments>();
  const auto urls = [&](CLI::App* verb) {
    verb->add_option("--peer-urls", arguments->peer_urls,
                     "the URLs at which the other members reach it")
        ->delimiter(',')
        ->required();
  };
  const auto target = [&](CLI::App* verb) {
    verb->add_option("member", arguments->member, "ID or name of the member")->required();
  };

  CLI::App* add = member->add_subcommand("add", "Adds a member, which is then started with --join");
  add->add_option("name", arguments->member, "its name")->required();
  urls(add);
  add->add_flag("--learner", arguments->learner,
                "add it as a learner: it gets the data, but does not vote");
  context.OnVerb(add, [&context, arguments] { return Add(*arguments, context); });

  CLI::App* remove = member->add_subcommand("remove", "Removes a member for ever");
  target(remove);
  context.OnVerb(remove, [&context, arguments] {
    return ChangeMember("member remove", *arguments, "removed from", context,
                        [](Client* client, uint64_t id) { return client->MemberRemove(id); });
  });

  CLI::App* update = member->add_subcommand("update", "Changes the peer URLs of a member");
  target(update);
  urls(update);
  context.OnVerb(update, [&context, arguments] {
    return ChangeMember("member update", *arguments, "updated in", context,
                        [arguments](Client* client, uint64_t id) {
                          return client->MemberUpdate(id, arguments->peer_urls);
                        });
  });

  CLI::App* promote = member->add_subcommand("promote", "Lets a learner vote");
  target(promote);
  context.OnVerb(promote, [&context, arguments] {
    return ChangeMember("member promote", *arguments, "promoted in", context,
                        [](Client* client, uint64_t id) { return client->MemberPromote(id); });
  });

  CLI::App* replace = member->add_subcommand(
      "replace", "Adds a learner, waits until it has caught up, promotes it, removes OLD");
  replace->add_option("old", arguments->member, "ID or name of the member to remove")->required();
  replace->add_option("new", arguments->with, "name of the new member")->required();
  urls(replace);
  context.OnVerb(replace, [&context, arguments] { return Replace(*arguments, context); });
}

}  // namespace

void AddMemberVerbs(CLI::App& app, Context& context) {
  CLI::App* member = app.add_subcommand("member", "The members of the cluster");
  member->require_subcommand(0, 1);
  context.OnVerb(member->add_subcommand("list", "Prints id, state, name and URLs of each member"),
                 [&context] { return ListMembers(context); });
  AddChanges(member, context);

  auto target = std::make_shared<std::string>();
  CLI::App* move = app.add_subcommand("move-leader", "Transfers leadership to another member");
  move->add_option("target", *target, "ID or name of the new leader")->required();
  context.OnVerb(move, [&context, target] { return MoveLeader(*target, context); });
}

}  // namespace raftkv::client
