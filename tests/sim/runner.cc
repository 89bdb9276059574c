#include "tests/sim/runner.h"

#include <fcntl.h>
#include <glog/logging.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "storage/base/mutant.h"
#include "tests/sim/core_run.h"
#include "tests/sim/divergence.h"
#include "tests/sim/long_tail.h"
#include "tests/sim/mutants.h"
#include "tests/sim/old_copy.h"
#include "tests/sim/restore_run.h"

namespace raftkv::sim {

namespace {

constexpr unsigned kSecondsPerSeed = 120;  // real time; a seed takes less than a second

// A child's state in shared memory, which the parent reads if the child dies.
struct SharedState {
  uint64_t seed;            // the seed that runs now
  char check_message[512];  // of a failed CHECK
};

struct Report {
  Counts counts;
  uint64_t seed;
  char invariant[16];
  char what[640];
};
static_assert(sizeof(Report) <= 4096, "a report is written to the pipe in one piece");

template <size_t size>
void CopyTo(char (&to)[size], std::string_view from) {
  const size_t length = std::min(from.size(), size - 1);
  std::memcpy(to, from.data(), length);
  to[length] = '\0';
}

// Keeps the message of a failed CHECK for the parent.
class CheckMessageSink final : public google::LogSink {
 public:
  explicit CheckMessageSink(SharedState* state) : state_(state) {}
  void send(google::LogSeverity severity, const char*, const char* file, int line, const struct tm*,
            const char* message, size_t length) override {
    if (severity < google::GLOG_FATAL) return;
    CopyTo(state_->check_message,
           absl::StrFormat("%s:%d %s", file, line, std::string_view(message, length)));
  }

 private:
  SharedState* const state_;
};

[[noreturn]] void Work(const std::vector<uint64_t>& seeds, size_t first, size_t step,
                       std::string_view mutant, Kind kind, SharedState* state, int pipe) {
  CheckMessageSink sink(state);
  google::AddLogSink(&sink);
  const int null = open("/dev/null", O_WRONLY);
  dup2(null, STDERR_FILENO);
  for (size_t i = first; i < seeds.size(); i += step) {
    state->seed = seeds[i];
    alarm(kSecondsPerSeed);
    const RunResult result = RunSeed(seeds[i], mutant, /*trace=*/false, kind);
    Report report = {};
    report.counts = result;
    report.seed = seeds[i];
    CopyTo(report.invariant, result.invariant);
    CopyTo(report.what, result.what);
    if (write(pipe, &report, sizeof(report)) != sizeof(report)) _exit(3);
    if (!result.invariant.empty()) _exit(1);
  }
  _exit(0);
}

std::string HowItEnded(int status, const SharedState& state) {
  if (state.check_message[0] != '\0') return state.check_message;
  if (WIFSIGNALED(status)) {
    return WTERMSIG(status) == SIGALRM ? "hangs" : absl::StrCat("signal ", WTERMSIG(status));
  }
  return absl::StrCat("exit code ", WEXITSTATUS(status));
}

// Runs, for some of the seeds, the tests that World cannot do.
void RunBeside(uint64_t seed, std::string_view mutant, RunResult* result) {
  Verdict verdict;
  if (NeedsAnOldCopy(mutant) || (mutant.empty() && Mix(seed, 6) % 5 == 0)) {
    RunOldCopies(seed, &result->marks, &verdict);
  }
  if (NeedsADivergence(mutant) || (mutant.empty() && Mix(seed, 7) % 10 == 0)) {
    RunDivergence(seed, &result->marks, &verdict);
  }
  if (NeedsALongTail(mutant) || (mutant.empty() && Mix(seed, 9) % 10 == 0)) {
    RunLongTail(seed, &result->marks, &verdict);
  }
  if (NeedsARestore(mutant) || (mutant.empty() && Mix(seed, 8) % 10 == 0)) {
    RunRestore(seed, &result->marks, &verdict);
  }
  if (verdict.failed() && result->invariant.empty()) {
    result->invariant = verdict.invariant();
    result->what = verdict.what();
  }
}

}  // namespace

void Counts::Add(const Counts& other) {
  time += other.time;
  events += other.events;
  crashes += other.crashes;
  partitions += other.partitions;
  acknowledged_writes += other.acknowledged_writes;
  reads += other.reads;
  committed += other.committed;
  terms += other.terms;
  marks.Add(other.marks);
}

void Totals::AddRun(const Counts& run) {
  const Profile minima;
  Add(run);
  ++seeds;
  const bool short_of = run.time < minima.time_min || run.events < minima.events_min ||
                        run.crashes < minima.crashes_min ||
                        run.partitions < minima.partitions_min ||
                        run.acknowledged_writes < minima.acknowledged_min;
  if (short_of) ++below_minima;
}

RunResult RunSeed(uint64_t seed, std::string_view mutant, bool trace, Kind kind) {
  g_mutant = mutant;
  const RunOptions options{.seed = seed, .trace = trace, .check_core = mutant.empty()};
  Rng rng(seed);
  Profile profile = DrawProfile(&rng);
  Aim(mutant, &profile);
  if (trace) absl::PrintF("%s\n", Describe(profile));
  const auto run = [&] {
    return kind == Kind::kCores ? RunCores(options, profile) : World(options, profile).Run();
  };
  const bool beside = NeedsAnOldCopy(mutant) || NeedsADivergence(mutant) ||
                      NeedsALongTail(mutant) || NeedsARestore(mutant);
  RunResult result;
  if (!beside) result = run();
  if (kind == Kind::kMembers) RunBeside(seed, mutant, &result);
  if (mutant.empty() && Mix(seed, 5) % 20 == 0 && result.invariant.empty() && !trace) {
    if (run().trace_hash != result.trace_hash) {
      result.invariant = "determinism";
      result.what = "the same seed gave two different runs";
    }
  }
  return result;
}

Outcome RunSeeds(const std::vector<uint64_t>& seeds, std::string_view mutant, int jobs,
                 const std::function<void(const Totals&)>& progress, Kind kind) {
  Outcome outcome;
  int ends[2];
  PCHECK(pipe(ends) == 0);
  void* shared = mmap(nullptr, jobs * sizeof(SharedState), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  PCHECK(shared != MAP_FAILED);
  SharedState* states = static_cast<SharedState*>(shared);
  std::vector<pid_t> children;
  for (int job = 0; job < jobs; ++job) {
    const pid_t child = fork();
    PCHECK(child >= 0);
    if (child == 0) {
      close(ends[0]);
      Work(seeds, job, jobs, mutant, kind, &states[job], ends[1]);
    }
    children.push_back(child);
  }
  close(ends[1]);

  Report report;
  for (;;) {
    const ssize_t size = read(ends[0], &report, sizeof(report));
    if (size < 0 && errno == EINTR) continue;
    if (size != sizeof(report)) break;
    outcome.totals.AddRun(report.counts);
    if (progress) progress(outcome.totals);
    if (report.invariant[0] == '\0') continue;
    outcome.failures.push_back({report.seed, report.invariant, report.what});
    for (pid_t child : children) kill(child, SIGTERM);  // stop at the first failure
  }
  close(ends[0]);
  for (int job = 0; job < jobs; ++job) {
    int status = 0;
    waitpid(children[job], &status, 0);
    const bool ended_well = WIFEXITED(status) && WEXITSTATUS(status) <= 1;
    const bool ended_by_us = WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM;
    if (ended_well || ended_by_us) continue;
    outcome.failures.push_back({states[job].seed, "CHECK", HowItEnded(status, states[job])});
  }
  munmap(shared, jobs * sizeof(SharedState));
  return outcome;
}

}  // namespace raftkv::sim
