// The pages that probes and people read over HTTP: /version, /health, /livez, /readyz and the
// checks below the last two. Paths, queries, texts and status codes are etcd's.
//
// They are served on the watchdog's thread, which never waits for the disk. The reads that they
// need run on the loop's thread. If the loop hangs, a page says so.

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "proto/http.pb.h"
#include "server/api/edge.h"
#include "server/api/member_calls.h"

namespace raftkv::api {

namespace {

using proto::HttpAnswer;
using proto::HttpRequest;
using PageCall = Unary<HttpRequest, HttpAnswer>;

constexpr char kText[] = "text/plain; charset=utf-8";
constexpr int kOk = 200, kUnavailable = 503;
constexpr size_t kProbesMax = 1024;

void Answer(PageCall call, int status, const char* type, std::string body) {
  call.response()->set_status(status);
  call.response()->set_content_type(type);
  call.response()->set_body(std::move(body));
  call.Finish(absl::OkStatus());
}

// --- the query

// All values of `key`.
std::vector<std::string> ValuesOf(const HttpRequest& request, absl::string_view key) {
  std::vector<std::string> values;
  for (const absl::string_view part : absl::StrSplit(request.query(), '&')) {
    const std::pair<absl::string_view, absl::string_view> pair =
        absl::StrSplit(part, absl::MaxSplits('=', 1));
    if (pair.first == key) values.emplace_back(pair.second);
  }
  return values;
}

bool Has(const std::vector<std::string>& values, absl::string_view value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

// --- reads

struct Wanted {
  bool serializable = false;
  bool linearizable = false;
};

struct Results {
  absl::Status serializable;
  absl::Status linearizable;
};

// The reads that one page waits for. For each read the first result counts: its own, or a timeout.
class Probe {
 public:
  using Answer = std::function<void(const Results&)>;

  Probe(Wanted wanted, MonotonicTime deadline, Answer answer)
      : deadline_(deadline), waits_(wanted), answer_(std::move(answer)) {}

  // From any thread.
  void OnSerializable(const absl::Status& status) {
    Set(&Wanted::serializable, &Results::serializable, status);
  }
  void OnLinearizable(const absl::Status& status) {
    Set(&Wanted::linearizable, &Results::linearizable, status);
  }
  void Fail(const absl::Status& status) {
    OnSerializable(status);
    OnLinearizable(status);
  }

  bool answered() const {
    absl::MutexLock lock(&mutex_);
    return !waits_.serializable && !waits_.linearizable;
  }
  MonotonicTime deadline() const { return deadline_; }

 private:
  void Set(bool Wanted::*which, absl::Status Results::*result, const absl::Status& status) {
    {
      absl::MutexLock lock(&mutex_);
      if (!std::exchange(waits_.*which, false)) return;
      results_.*result = status;
      if (waits_.serializable || waits_.linearizable) return;
    }
    answer_(results_);
  }

  const MonotonicTime deadline_;
  mutable absl::Mutex mutex_;
  Wanted waits_ ABSL_GUARDED_BY(mutex_);
  Results results_;  // does not change once each read has a result
  const Answer answer_;
};

// Reads one key from this member's state. On the loop's thread, or the one that applies.
absl::Status ReadOneKey(const Edge& edge) {
  etcdserverpb::RangeRequest request;
  etcdserverpb::RangeResponse response;
  request.set_key("health");
  request.set_limit(1);
  request.set_keys_only(true);
  return ToWire(edge.member->Snapshot()->Range(request, kInlineLimits, &response));
}

// Why this member cannot answer reads now, or OK.
absl::Status WhyNotReadable(const Edge& edge) {
  if (edge.phase->AtLeast(Phase::kDeclining)) return ReadToWire(Fate::kStopped);
  if (edge.loop_hangs()) return ReadToWire(Fate::kTimedOut);
  if (edge.member->rejected_by_peers()) return RejectedByPeers();
  return edge.member->halted() ? HasHalted() : absl::OkStatus();
}

// The probes that are open. On the watchdog's thread.
class Probes {
 public:
  explicit Probes(const Edge* edge) : edge_(*edge) {}

  // Starts the reads, and calls `answer`, on some thread, when both have a result.
  void Start(Wanted wanted, Probe::Answer answer) {
    const MonotonicTime deadline = MonotonicNow() + edge_.config->limits.request_timeout;
    auto probe = std::make_shared<Probe>(wanted, deadline, std::move(answer));
    if (open_.size() >= kProbesMax) EraseAnswered();
    if (open_.size() >= kProbesMax) return probe->Fail(TooManyRequests());
    if (absl::Status why = WhyNotReadable(edge_); !why.ok()) return probe->Fail(why);
    open_.push_back(probe);
    edge_.on_loop([edge = &edge_, wanted, probe] {
      if (wanted.serializable) probe->OnSerializable(ReadOneKey(*edge));
      if (!wanted.linearizable) return;
      auto done = [edge, probe](Fate fate) {
        probe->OnLinearizable(fate == Fate::kApplied ? ReadOneKey(*edge) : ReadToWire(fate));
      };
      edge->member->Post(ReadRequest{std::move(done), {.deadline = probe->deadline()}});
    });
  }

  // Ends the probes that take too long, and all probes if this member cannot answer reads. Called
  // regularly.
  void EndLate() {
    for (const std::shared_ptr<Probe>& probe : open_) {
      if (absl::Status why = WhyNotReadable(edge_); !why.ok()) probe->Fail(why);
      if (MonotonicNow() >= probe->deadline()) probe->Fail(ReadToWire(Fate::kTimedOut));
    }
    EraseAnswered();
  }

 private:
  void EraseAnswered() {
    std::erase_if(open_, [](const std::shared_ptr<Probe>& probe) { return probe->answered(); });
  }

  const Edge& edge_;
  std::vector<std::shared_ptr<Probe>> open_;
};

// --- /version

void Version(PageCall call) {
  Answer(call, kOk, "application/json",
         absl::StrCat(R"({"etcdserver":")", kEtcdVersion, R"(","etcdcluster":")",
                      kEtcdClusterVersion, R"(","storage":")", kEtcdClusterVersion, R"("})"));
}

// --- /health

void AnswerHealth(const Edge& edge, PageCall call, const std::string& reason) {
  const std::string quoted = absl::StrReplaceAll(reason, {{"\\", "\\\\"}, {"\"", "\\\""}});
  const bool healthy = reason.empty();
  ++(healthy ? edge.counters->healthy : edge.counters->unhealthy);
  Answer(call, healthy ? kOk : kUnavailable, kText,
         absl::StrCat(R"({"health":")", healthy ? "true" : "false", R"(","reason":")", quoted,
                      R"("})", healthy ? "" : "\n"));
}

std::string WhyUnhealthy(const Edge& edge, const HttpRequest& request, bool serializable) {
  const std::vector<std::string> excluded = ValuesOf(request, "exclude");
  const AlarmsInForce alarms = edge.member->Snapshot()->alarms_in_force();
  const bool no_space = alarms.no_space || edge.member->out_of_space();
  if (no_space && !Has(excluded, "NOSPACE")) return "ALARM NOSPACE";
  if (alarms.corrupt && !Has(excluded, "CORRUPT")) return "ALARM CORRUPT";
  return serializable || edge.member->has_leader() ? "" : "RAFT NO LEADER";
}

void Health(const Edge& edge, Probes* probes, PageCall call) {
  const std::vector<std::string> flags = ValuesOf(call.request(), "serializable");
  const bool serializable = !flags.empty() && flags[0] == "true";
  const std::string reason = WhyUnhealthy(edge, call.request(), serializable);
  if (!reason.empty()) return AnswerHealth(edge, call, reason);
  probes->Start({.serializable = serializable, .linearizable = !serializable},
                [&edge, call](const Results& results) {
                  absl::Status status = results.serializable;
                  status.Update(results.linearizable);
                  const bool ok = status.ok();
                  AnswerHealth(edge, call,
                               ok ? "" : absl::StrCat("RANGE ERROR:", status.message()));
                });
}

// --- /livez, /readyz

// The checks, in the order in which they are printed.
constexpr char kDataCorruption[] = "data_corruption", kSerializable[] = "serializable_read",
               kLinearizable[] = "linearizable_read", kNonLearner[] = "non_learner";

std::string ResultOf(const Edge& edge, const Results& reads, const std::string& check) {
  if (check == kSerializable) return std::string(reads.serializable.message());
  if (check == kLinearizable) return std::string(reads.linearizable.message());
  if (check == kNonLearner) return edge.member->is_learner() ? "not supported for learner" : "";
  const bool corrupt = edge.member->Snapshot()->alarms_in_force().corrupt;
  return corrupt ? "alarm activated: CORRUPT" : "";
}

void AnswerChecks(const Edge& edge, PageCall call, const std::vector<std::string>& checks,
                  const Results& reads) {
  std::string lines;
  bool failed = false;
  for (const std::string& check : checks) {
    const std::string why = ResultOf(edge, reads, check);
    failed |= !why.empty();
    absl::StrAppend(&lines, why.empty() ? "[+]" : "[-]", check,
                    why.empty() ? " ok" : absl::StrCat(" failed: ", why), "\n");
  }
  if (failed) return Answer(call, kUnavailable, kText, lines + "\n");
  const bool verbose = !ValuesOf(call.request(), "verbose").empty();
  Answer(call, kOk, kText, (verbose ? lines : "") + "ok\n");
}

void RunChecks(const Edge& edge, Probes* probes, PageCall call, std::vector<std::string> checks) {
  const Wanted wanted = {.serializable = Has(checks, kSerializable),
                         .linearizable = Has(checks, kLinearizable)};
  auto answer = [&edge, call, checks = std::move(checks)](const Results& results) {
    AnswerChecks(edge, call, checks, results);
  };
  if (!wanted.serializable && !wanted.linearizable) return answer({});
  probes->Start(wanted, std::move(answer));
}

// --- the rows

class Rows {
 public:
  Rows(const Edge* edge, Methods* methods)
      : edge_(edge), methods_(methods), probes_(std::make_shared<Probes>(edge)) {}

  template <typename Handler>
  void AddPage(const std::string& path, Handler handler) {
    const std::string name = absl::StrCat(kPage, path);
    auto served = [probes = probes_, handler](const Edge* edge, PageCall call) {
      handler(*edge, probes.get(), call);
    };
    Add<HttpRequest, HttpAnswer>(edge_, methods_, {.name = name.c_str(), .handler = served});
  }

  // A page that runs all checks but those that its query excludes, and a page for each check.
  void AddChecks(const std::string& path, const std::vector<std::string>& checks) {
    AddPage(path, [checks](const Edge& edge, Probes* probes, PageCall call) {
      const std::vector<std::string> excluded = ValuesOf(call.request(), "exclude");
      std::vector<std::string> left = checks;
      std::erase_if(left, [&](const std::string& check) { return Has(excluded, check); });
      RunChecks(edge, probes, call, std::move(left));
    });
    for (const std::string& check : checks) {
      AddPage(absl::StrCat(path, "/", check), [check](const Edge& edge, Probes* p, PageCall call) {
        RunChecks(edge, p, call, {check});
      });
    }
  }

  const std::shared_ptr<Probes>& probes() const { return probes_; }

 private:
  const Edge* const edge_;
  Methods* const methods_;
  const std::shared_ptr<Probes> probes_;
};

}  // namespace

std::function<void()> AddPages(const Edge* edge, Methods* methods) {
  Rows rows(edge, methods);
  rows.AddPage("/version", [](const Edge&, Probes*, PageCall call) { Version(call); });
  rows.AddPage("/health", Health);
  rows.AddChecks("/livez", {kSerializable});
  rows.AddChecks("/readyz", {kDataCorruption, kSerializable, kLinearizable, kNonLearner});
  return [probes = rows.probes()] { probes->EndLate(); };
}

}  // namespace raftkv::api
