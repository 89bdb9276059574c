// raftkv-sim: simulates clusters with faults on a virtual clock. A seed determines a run (world.h).
//
//   raftkv-sim --seeds 1000          runs new seeds; the first one comes from the clock
//   raftkv-sim --seeds 1000 --ledger docs/simulation-ledger.md   and adds a line to the file
//   raftkv-sim --core --seeds 10000  the same with Raft cores alone (core_run.h)
//   raftkv-sim --seed 42 [--trace]   repeats the run of one seed exactly
//   raftkv-sim --seed 42 --mutant vote-twice-in-a-term
//   raftkv-sim --from-file tests/sim/seeds.txt   runs seeds that failed once
//   raftkv-sim --mutants             runs each planted bug until a seed finds it
//
// Exit codes: 0 no error; 1 an invariant was broken, a mark stayed at zero, or a planted bug was
// not found; 2 the command line is wrong.

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "config/process.h"
#include "config/version.h"
#include "glog/logging.h"
#include "tests/sim/mutants.h"
#include "tests/sim/runner.h"

namespace raftkv::sim {
namespace {

constexpr int kInvariants = 16;           // I1 to I16 in docs/testing.md
constexpr uint64_t kSeedsForMarks = 300;  // with fewer seeds, marks may stay at zero

double Seconds() {
  using std::chrono::steady_clock;
  return std::chrono::duration<double>(steady_clock::now().time_since_epoch()).count();
}

std::string Commit() {
  std::string commit;
  if (FILE* git = popen("git describe --always --dirty --exclude '*' 2>/dev/null", "r")) {
    for (int c; (c = fgetc(git)) != EOF && c != '\n';) commit.push_back(static_cast<char>(c));
    pclose(git);
  }
  return commit;
}

void PrintFailure(const Failure& failure, std::string_view mutant, Kind kind) {
  absl::PrintF("\nBROKEN %s: %s\n", failure.invariant, failure.what);
  const std::string commit = Commit();
  absl::PrintF("  make sim SEED=%d%s%s%s\n", failure.seed, kind == Kind::kCores ? " CORE=1" : "",
               mutant.empty() ? "" : absl::StrFormat(" MUTANT=%s", mutant),
               commit.empty() ? "" : absl::StrFormat("   # at commit %s", commit));
}

void PrintTotals(const Totals& t, double seconds) {
  absl::PrintF(
      "%d seeds in %.1f s: %d virtual minutes, %d events, %d terms, %d crashes, "
      "%d partitions,\n%d entries committed, %d writes acknowledged, %d linearizable reads\n",
      t.seeds, seconds, t.time / (60 * kSecond), t.events, t.terms, t.crashes, t.partitions,
      t.committed, t.acknowledged_writes, t.reads);
}

// Prints all marks. Returns how many of them are zero.
int PrintMarks(const Marks& marks) {
  int missing = 0;
  for (size_t i = 0; i < kMarkCount; ++i) {
    const Mark mark = static_cast<Mark>(i);
    if (marks[mark] == 0) ++missing;
    absl::PrintF("%12d  %s%s\n", marks[mark], MarkText(mark),
                 marks[mark] == 0 ? "   <-- never" : "");
  }
  return missing;
}

constexpr char kLedgerHead[] =
    "# The simulator's ledger\n\n"
    "Each line is one run of `raftkv-sim --ledger` (`make sim LEDGER=1`, `make soak`), which adds "
    "it. A seed that found\na violation is in [tests/sim/seeds.txt](../tests/sim/seeds.txt) since "
    "its bug was fixed. Commits that end with\n\"-dirty\" had changes that were not committed.\n\n"
    "| date | commit | runs | first seed | seeds | virtual seconds | events | seconds | violations "
    "|\n|---|---|---|---|---|---|---|---|---|\n";

std::string_view KindName(Kind kind) { return kind == Kind::kCores ? "cores" : "members"; }

// Adds a line to the ledger and prints the sums of the runs of this kind.
void AppendToLedger(const std::string& path, Kind kind, uint64_t first, const Outcome& outcome,
                    double seconds) {
  std::string violations;
  for (const Failure& failure : outcome.failures) {
    absl::StrAppendFormat(&violations, "%s%s at seed %d", violations.empty() ? "" : ", ",
                          failure.invariant, failure.seed);
  }
  const Totals& t = outcome.totals;
  const bool is_new = !std::ifstream(path).good();
  std::ofstream file(path, std::ios::app);
  if (is_new) file << kLedgerHead;
  file << absl::StrFormat("| %s | %s | %s | %d | %d | %d | %d | %.0f | %s |\n",
                          absl::FormatTime("%Y-%m-%d", absl::Now(), absl::UTCTimeZone()), Commit(),
                          KindName(kind), first, t.seeds, t.time / kSecond, t.events, seconds,
                          violations.empty() ? "none" : violations);
  file.close();
  if (!file) {
    std::cerr << path << ": cannot be written\n";
    std::exit(2);
  }
  const std::string runs = absl::StrFormat(" %s ", KindName(kind));
  uint64_t seeds = 0, virtual_seconds = 0;
  std::ifstream lines(path);
  for (std::string line; std::getline(lines, line);) {
    const std::vector<std::string> cells = absl::StrSplit(line, '|');
    uint64_t number = 0;
    if (cells.size() < 10 || cells[3] != runs) continue;
    if (absl::SimpleAtoi(cells[5], &number)) seeds += number;
    if (absl::SimpleAtoi(cells[6], &number)) virtual_seconds += number;
  }
  absl::PrintF("%s: %d seeds of %s, %d virtual hours in all\n", path, seeds, KindName(kind),
               virtual_seconds / 3600);
}

int Many(const std::vector<uint64_t>& seeds, std::string_view mutant, int jobs, Kind kind,
         const std::string& ledger) {
  const double start = Seconds();
  double shown = start;
  const bool terminal = isatty(STDOUT_FILENO);
  const Outcome outcome = RunSeeds(
      seeds, mutant, jobs,
      [&](const Totals& t) {
        if (!terminal || Seconds() - shown < 0.2) return;
        shown = Seconds();
        absl::PrintF("\r%d of %d seeds ", t.seeds, seeds.size());
        std::fflush(stdout);
      },
      kind);
  if (terminal) absl::PrintF("\r");
  PrintTotals(outcome.totals, Seconds() - start);
  if (!ledger.empty()) AppendToLedger(ledger, kind, seeds.front(), outcome, Seconds() - start);
  for (const Failure& failure : outcome.failures) PrintFailure(failure, mutant, kind);
  if (!outcome.failures.empty()) return 1;
  if (kind == Kind::kCores) return 0;  // the marks and minima are those of whole members
  const int missing = PrintMarks(outcome.totals.marks);
  if (outcome.totals.below_minima > 0) {
    absl::PrintF("\nBROKEN: %d seeds ended below the minima of a run (tests/sim/profile.h)\n",
                 outcome.totals.below_minima);
    return 1;
  }
  if (missing > 0 && seeds.size() >= kSeedsForMarks) {
    absl::PrintF("\nBROKEN: %d marks stayed at zero: no run met these situations\n", missing);
    return 1;
  }
  return 0;
}

int One(uint64_t seed, std::string_view mutant, bool trace, Kind kind) {
  const RunResult result = RunSeed(seed, mutant, trace, kind);
  Totals totals;
  totals.AddRun(result);
  PrintTotals(totals, 0);
  absl::PrintF("trace hash %016x\n", result.trace_hash);
  if (result.invariant.empty()) return 0;
  PrintFailure({seed, result.invariant, result.what}, mutant, kind);
  return 1;
}

// An invariant that finds no planted bug may have a check that cannot fail. Returns how many do.
int PrintFinders(const std::map<std::string, int>& found) {
  int idle = 0;
  absl::PrintF("planted bugs found by each invariant:");
  for (int number = 1; number <= kInvariants; ++number) {
    const std::string name = absl::StrCat("I", number);
    const auto it = found.find(name);
    absl::PrintF(" %s %d", name, it == found.end() ? 0 : it->second);
    idle += it == found.end();
  }
  absl::PrintF("\n");
  if (idle > 0) absl::PrintF("BROKEN: %d invariants have found no planted bug\n", idle);
  return idle;
}

int RunMutants(int jobs) {
  const double start = Seconds();
  std::map<std::string, int> found;
  int survivors = 0;
  absl::PrintF("%-3s %-41s %6s  %s\n", "", "planted bug", "seeds", "found by");
  size_t tried = 0;
  for (const Mutant& mutant : Mutants()) {
    if (!mutant.not_tried.empty()) {
      absl::PrintF("%-3s %-41s %6s  not tried: %s\n", mutant.number, mutant.name, "",
                   mutant.not_tried);
      continue;
    }
    ++tried;
    std::vector<uint64_t> seeds;
    for (uint64_t seed = 1; seed <= mutant.seeds_max; ++seed) seeds.push_back(seed);
    const Outcome outcome = RunSeeds(seeds, mutant.name, jobs, nullptr);
    if (outcome.failures.empty()) {
      ++survivors;
      absl::PrintF("%-3s %-41s %6d  NOT FOUND\n", mutant.number, mutant.name, outcome.totals.seeds);
    } else {
      const Failure& f = outcome.failures.front();
      ++found[f.invariant];
      absl::PrintF("%-3s %-41s %6d  seed %d, %s: %s\n", mutant.number, mutant.name,
                   outcome.totals.seeds, f.seed, f.invariant, f.what.substr(0, 100));
    }
    std::fflush(stdout);
  }
  absl::PrintF("%d of %d planted bugs found in %.0f s\n", tried - survivors, tried,
               Seconds() - start);
  return survivors + PrintFinders(found) == 0 ? 0 : 1;
}

// The seeds in the file, by the kind of their runs.
std::map<Kind, std::vector<uint64_t>> ReadSeeds(const std::string& path) {
  constexpr std::string_view kCore = "core ";
  std::map<Kind, std::vector<uint64_t>> seeds;
  std::ifstream file(path);
  if (!file) {
    std::cerr << path << ": cannot be read\n";
    std::exit(2);
  }
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    const bool core = line.starts_with(kCore);
    const std::string number = core ? line.substr(kCore.size()) : line;
    uint64_t seed = 0;
    if (!absl::SimpleAtoi(number, &seed)) {
      std::cerr << path << ": \"" << line << "\" is no seed\n";
      std::exit(2);
    }
    seeds[core ? Kind::kCores : Kind::kMembers].push_back(seed);
  }
  return seeds;
}

int Main(int argc, char** argv) {
  CLI::App app("Simulates raftkv clusters under faults");
  app.set_version_flag("--version", raftkv::VersionLines("raftkv-sim"));
  uint64_t count = 0, seed = 0, first = 0;
  bool trace = false, mutants = false, core = false;
  std::string mutant, file, ledger;
  int jobs = 1;
  app.add_option("--seeds", count, "run this many new seeds");
  app.add_option("--first", first, "the first of --seeds; by default it comes from the clock");
  app.add_option("--ledger", ledger, "with --seeds: add a line about the run to this file");
  CLI::Option* one = app.add_option("--seed", seed, "run one seed");
  app.add_flag("--core", core, "run Raft cores alone instead of whole members");
  app.add_flag("--trace", trace, "with --seed: print every event");
  std::vector<std::string> names;
  for (const Mutant& m : Mutants()) names.emplace_back(m.name);
  app.add_option("--mutant", mutant, "plant this bug")->check(CLI::IsMember(names));
  app.add_option("--from-file", file,
                 "run the seeds in a file, one on each line: \"N\", or \"core N\" for cores alone");
  app.add_flag("--mutants", mutants, "run each planted bug until a seed finds it");
  app.add_option("--jobs", jobs, "number of processes")->check(CLI::Range(1, 64));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (mutants) return RunMutants(jobs);
  const Kind kind = core ? Kind::kCores : Kind::kMembers;
  if (*one) return One(seed, mutant, trace, kind);
  if (!file.empty()) {
    bool failed = false;
    for (const auto& [of_file, seeds] : ReadSeeds(file)) {
      const Outcome outcome = RunSeeds(seeds, mutant, jobs, nullptr, of_file);
      PrintTotals(outcome.totals, 0);
      for (const Failure& failure : outcome.failures) PrintFailure(failure, mutant, of_file);
      failed |= !outcome.failures.empty();
    }
    return failed ? 1 : 0;
  }
  if (count == 0) count = 100;
  if (first == 0) {
    first = std::chrono::duration_cast<std::chrono::microseconds>(
                std::chrono::system_clock::now().time_since_epoch())
                .count();
  }
  absl::PrintF("seeds %d to %d\n", first, first + count - 1);
  std::vector<uint64_t> seeds;
  for (uint64_t i = 0; i < count; ++i) seeds.push_back(first + i);
  return Many(seeds, mutant, jobs, kind, ledger);
}

}  // namespace
}  // namespace raftkv::sim

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  FLAGS_logtostderr = true;
  return raftkv::sim::Main(argc, argv);
}
