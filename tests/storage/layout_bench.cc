// Measures the layouts that docs/decisions/0001 chooses from, all over the same engine, through the
// same interface, with the same options. Prints one Markdown row for each layout.
//
//   ninja layout_bench && bin/layout_bench [directory]
//
// CPU is that of the whole process, so that flushes and compactions caused by puts are counted.

#include <sys/resource.h>
#include <time.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "config/process.h"
#include "glog/logging.h"
#include "storage/base/checksum.h"
#include "storage/mvcc/layout.h"
#include "storage/mvcc/writer.h"
#include "storage/state_machine.h"
#include "tests/storage/rocks.h"
#include "tests/storage/testing.h"

namespace raftkv {
namespace {

using mvcc::Head;

constexpr int kKeys = 100'000;
constexpr int kPuts = 600'000;
constexpr int kBatch = 32;
constexpr int kFlushEvery = 10'000;
constexpr int kHotVersions = 1'000;
constexpr int kReads = 20'000;

std::string KeyName(int i) {
  char name[32];
  std::snprintf(name, sizeof(name), "/registry/key/%08d", i);
  return name;
}

std::string TableKey(char table, std::string_view key) {
  std::string out(1, table);
  out.append(key);
  return out;
}

std::string EventKey(Revision revision) {
  std::string out;
  mvcc::AppendEventKey({revision, 0}, &out);
  return out;
}

std::string VersionKey(std::string_view key, Revision revision) {
  std::string out;
  mvcc::AppendVersionPrefix(key, &out);
  mvcc::AppendRevisionDescending(revision, &out);
  return out;
}

// A record that is complete by itself: head, then value.
std::string Record(const Head& head, std::string_view value) {
  std::string out, body;
  PutVarint64(&out, static_cast<uint64_t>(head.mod_revision));
  mvcc::EncodeVersion(head, value, &body);
  return out + body;
}

Head DecodeHead(std::string_view record) {
  uint64_t mod = 0, create = 0, version = 0;
  CHECK(TakeVarint64(&record, &mod) && TakeVarint64(&record, &create) &&
        TakeVarint64(&record, &version));
  return {static_cast<Revision>(create), static_cast<Revision>(mod), static_cast<int64_t>(version),
          0};
}

class Layout {
 public:
  explicit Layout(Engine* engine) : engine_(*engine) {}
  virtual ~Layout() = default;

  void PutOne(const std::string& key, const std::string& value) {
    Put(key, value, ++revision_);
    if (++pending_ == kBatch) Write();
    if (revision_ % kFlushEvery == 0) {
      Write();
      BeforeFlush();
      engine_.StartFlush();
    }
  }
  void Finish() {
    Write();
    BeforeFlush();
    engine_.Flush();
  }
  Revision revision() const { return revision_; }

  virtual size_t Get(const View& view, const std::string& key) const = 0;
  virtual size_t GetAt(const View& view, const std::string& key, Revision revision) const = 0;
  virtual size_t Range(const View& view, const std::string& from, int limit) const = 0;

 protected:
  virtual void Put(const std::string& key, const std::string& value, Revision revision) = 0;
  virtual void BeforeFlush() {}
  virtual void Forget() {}

  static Head Next(const Head& before, Revision revision) {
    return {before.exists() ? before.create_revision : revision, revision, before.version + 1, 0};
  }

  Engine& engine_;
  WriteBatch batch_;

 private:
  void Write() {
    std::string state(52, 's');
    batch_.Put("m", state);
    engine_.Write(batch_, /*sync=*/false);
    batch_.Clear();
    pending_ = 0;
    Forget();
  }
  Revision revision_ = 1;
  int pending_ = 0;
};

// A, and C with a cache of heads: heads with values, events with values, an index to events.
class Heads : public Layout {
 public:
  Heads(Engine* engine, bool cached) : Layout(engine), cached_(cached), cache_(32 << 20) {}

  size_t Get(const View& view, const std::string& key) const override {
    return view.Get(TableKey('h', key))->size();
  }
  size_t GetAt(const View& view, const std::string& key, Revision revision) const override {
    const auto it = view.NewIterator();
    it->Seek(VersionKey(key, revision));
    CHECK(it->valid());
    return view.Get(EventKey(mvcc::VersionRevision(it->key())))->size();
  }
  size_t Range(const View& view, const std::string& from, int limit) const override {
    size_t bytes = 0;
    const auto it = view.NewIterator("i");
    for (it->Seek(TableKey('h', from)); it->valid() && limit-- > 0; it->Next()) {
      bytes += it->value().size();
    }
    return bytes;
  }

 protected:
  void Put(const std::string& key, const std::string& value, Revision revision) override {
    const std::string head_key = TableKey('h', key);
    Head before;
    const Head* known = cached_ ? cache_.Find(key) : nullptr;
    if (const auto own = own_.find(key); !cached_ && own != own_.end()) known = &own->second;
    if (known != nullptr) {
      before = *known;
    } else if (const auto record = engine_.Get(head_key)) {
      before = DecodeHead(*record);
    }
    const Head after = Next(before, revision);
    const std::string record = Record(after, value);
    batch_.Put(head_key, record);
    std::string event;
    PutVarint64(&event, static_cast<uint64_t>(before.mod_revision));
    PutVarint64(&event, key.size());
    batch_.Put(EventKey(revision), event + key + record);
    batch_.Put(VersionKey(key, revision), "");
    if (cached_) {
      cache_.Set(key, after);
    } else {
      own_[key] = after;
    }
  }
  void Forget() override {
    own_.clear();
    cache_.MaybeForget();
  }

 private:
  const bool cached_;
  mvcc::HeadCache cache_;
  std::map<std::string, Head> own_;  // of this batch
};

// B, and E with a cache of heads: versions with values, events that only name keys.
class Versions : public Layout {
 public:
  Versions(Engine* engine, bool cached) : Layout(engine), cached_(cached), cache_(32 << 20) {}

  size_t Get(const View& view, const std::string& key) const override {
    return GetAt(view, key, INT64_MAX);
  }
  size_t GetAt(const View& view, const std::string& key, Revision revision) const override {
    std::string prefix;
    mvcc::AppendVersionPrefix(key, &prefix);
    const auto it = view.NewIterator(mvcc::AfterVersions(prefix));
    it->Seek(VersionKey(key, revision));
    CHECK(it->valid());
    return it->value().size();
  }
  size_t Range(const View& view, const std::string& from, int limit) const override {
    size_t bytes = 0;
    const auto it = view.NewIterator("w");
    std::string prefix;
    mvcc::AppendVersionPrefix(from, &prefix);
    it->Seek(prefix);
    while (it->valid() && limit-- > 0) {
      prefix.assign(mvcc::VersionPrefix(it->key()));
      bytes += it->value().size();
      int steps = 0;
      for (it->Next(); it->valid() && it->key().starts_with(prefix); it->Next()) {
        if (++steps < 8) continue;
        it->Seek(mvcc::AfterVersions(prefix));
        break;
      }
    }
    return bytes;
  }

 protected:
  void Put(const std::string& key, const std::string& value, Revision revision) override {
    Head before;
    const Head* known = cached_ ? cache_.Find(key) : nullptr;
    if (const auto own = own_.find(key); !cached_ && own != own_.end()) known = &own->second;
    if (known != nullptr) {
      before = *known;
    } else {
      std::string prefix;
      mvcc::AppendVersionPrefix(key, &prefix);
      const auto it = engine_.NewIterator(mvcc::AfterVersions(prefix));
      it->Seek(prefix);
      std::string_view old;
      if (it->valid()) mvcc::DecodeVersion(it->key(), it->value(), &before, &old);
    }
    const Head after = Next(before, revision);
    std::string record;
    mvcc::EncodeVersion(after, value, &record);
    batch_.Put(VersionKey(key, revision), record);
    mvcc::EncodeEvent({.previous = before.mod_revision, .key = key}, &record);
    batch_.Put(EventKey(revision), record);
    if (cached_) {
      cache_.Set(key, after);
    } else {
      own_[key] = after;
    }
  }
  void Forget() override {
    own_.clear();
    cache_.MaybeForget();
  }

 private:
  const bool cached_;
  mvcc::HeadCache cache_;
  std::map<std::string, Head> own_;
};

// D: a put writes its event only; heads and index follow when a flush begins (the Raft log recovers
// them). Reads are measured after a flush, so they do not pay for merging what is still in memory.
class Lazy final : public Heads {
 public:
  explicit Lazy(Engine* engine) : Heads(engine, /*cached=*/true), cache_(32 << 20) {}

 protected:
  void Put(const std::string& key, const std::string& value, Revision revision) override {
    Head before;
    if (const Head* known = cache_.Find(key)) {
      before = *known;
    } else if (const auto record = engine_.Get(TableKey('h', key))) {
      before = DecodeHead(*record);
    }
    const Head after = Next(before, revision);
    const std::string record = Record(after, value);
    std::string event;
    PutVarint64(&event, static_cast<uint64_t>(before.mod_revision));
    PutVarint64(&event, key.size());
    batch_.Put(EventKey(revision), event + key + record);
    cache_.Set(key, after);
    Dirty& dirty = dirty_[key];
    dirty.record = record;
    dirty.revisions.push_back(revision);
  }
  void BeforeFlush() override {
    for (const auto& [key, dirty] : dirty_) {
      batch_.Put(TableKey('h', key), dirty.record);
      for (Revision revision : dirty.revisions) batch_.Put(VersionKey(key, revision), "");
    }
    dirty_.clear();
    engine_.Write(batch_, false);
    batch_.Clear();
  }
  void Forget() override { cache_.MaybeForget(); }

 private:
  struct Dirty {
    std::string record;
    std::vector<Revision> revisions;
  };
  mvcc::HeadCache cache_;
  std::unordered_map<std::string, Dirty> dirty_;
};

double CpuMicros(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_nsec) / 1e3;
}

uint64_t BytesWritten() {
  std::ifstream io("/proc/self/io");
  std::string name;
  uint64_t value = 0;
  while (io >> name >> value) {
    if (name == "wchar:") return value;
  }
  return 0;
}

void Measure(const char* name, const std::string& dir,
             const std::function<std::unique_ptr<Layout>(Engine*)>& make) {
  std::filesystem::remove_all(dir);
  const std::unique_ptr<Engine> engine = OpenRocks(dir);
  const std::unique_ptr<Layout> layout = make(engine.get());

  std::mt19937_64 random(1);
  const std::string value(256, 'v');
  for (int i = 0; i < kKeys; ++i) layout->PutOne(KeyName(i), value);
  layout->Finish();
  const double all = CpuMicros(CLOCK_PROCESS_CPUTIME_ID);
  const double own = CpuMicros(CLOCK_THREAD_CPUTIME_ID);
  const uint64_t bytes = BytesWritten();
  for (int i = 0; i < kPuts; ++i) {
    layout->PutOne(KeyName(static_cast<int>(random() % kKeys)), value);
  }
  layout->Finish();
  const double put_own = (CpuMicros(CLOCK_THREAD_CPUTIME_ID) - own) / kPuts;
  const double put_all = (CpuMicros(CLOCK_PROCESS_CPUTIME_ID) - all) / kPuts;
  const double put_bytes = static_cast<double>(BytesWritten() - bytes) / kPuts;

  const std::string hot = KeyName(kKeys / 2) + "hot";
  const Revision hot_first = layout->revision() + 1;
  for (int i = 0; i < kHotVersions; ++i) layout->PutOne(hot, value);
  layout->Finish();

  const std::shared_ptr<const View> view = engine->NewView();
  const auto time = [&](int count, const std::function<size_t()>& read) {
    for (int i = 0; i < count / 10; ++i) read();
    const double start = CpuMicros(CLOCK_THREAD_CPUTIME_ID);
    for (int i = 0; i < count; ++i) CHECK_GT(read(), 0u);
    return (CpuMicros(CLOCK_THREAD_CPUTIME_ID) - start) / count;
  };
  const double get =
      time(kReads, [&] { return layout->Get(*view, KeyName(static_cast<int>(random() % kKeys))); });
  const double range = time(kReads / 20, [&] {
    return layout->Range(*view, KeyName(static_cast<int>(random() % (kKeys - 200))), 100);
  });
  const double past = time(kReads, [&] {
    return layout->GetAt(*view, hot, hot_first + static_cast<Revision>(random() % kHotVersions));
  });
  std::printf("| %s | %.1f | %.1f | %.0f | %.1f | %.0f | %.1f |\n", name, put_own, put_all,
              put_bytes, get, range, past);
  std::fflush(stdout);
}

// The chosen layout as the product uses it: commands parsed, effects digested, responses built.
void MeasureStateMachine(const std::string& dir) {
  std::filesystem::remove_all(dir);
  auto state = StateMachine::Open(OpenRocks(dir));
  CHECK(state.ok()) << state.status();

  std::mt19937_64 random(1);
  const std::string value(256, 'v');
  raft::Index index = 0;
  const auto apply_batch = [&](const std::function<int()>& next_key) {
    std::vector<raft::Entry> entries;
    for (int i = 0; i < kBatch; ++i) {
      entries.push_back(MakeEntry(1, ++index, PutCommand(KeyName(next_key()), value)));
    }
    const double start = CpuMicros(CLOCK_THREAD_CPUTIME_ID);
    (*state)->Apply(entries);
    (*state)->MaybeFlush();
    return CpuMicros(CLOCK_THREAD_CPUTIME_ID) - start;
  };
  for (int i = 0; i < kKeys / kBatch; ++i) {
    int key = i * kBatch;
    apply_batch([&] { return key++; });
  }
  (*state)->Flush();
  const double all = CpuMicros(CLOCK_PROCESS_CPUTIME_ID);
  const uint64_t bytes = BytesWritten();
  double own = 0;
  for (int i = 0; i < kPuts / kBatch; ++i) {
    own += apply_batch([&] { return static_cast<int>(random() % kKeys); });
  }
  (*state)->Flush();
  std::printf("| StateMachine::Apply (E) | %.1f | %.1f | %.0f | | | |\n", own / kPuts,
              (CpuMicros(CLOCK_PROCESS_CPUTIME_ID) - all) / kPuts,
              static_cast<double>(BytesWritten() - bytes) / kPuts);
}

}  // namespace
}  // namespace raftkv

// layout_bench [DIRECTORY [state-machine]]: all layouts, or only the one that the product uses.
int main(int argc, char** argv) {
  using namespace raftkv;  // NOLINT
  const std::string dir = argc > 1 ? argv[1] : "/tmp/raftkv-layout-bench";
  std::printf(
      "| layout | put, own thread us | put, whole process us | bytes written a put | get us "
      "| range of 100 us | past get us |\n|---|---|---|---|---|---|---|\n");
  if (argc <= 2 || std::string(argv[2]) != "state-machine") {
    Measure("A heads, events, index", dir,
            [](Engine* e) { return std::make_unique<Heads>(e, false); });
    Measure("B versions, events", dir,
            [](Engine* e) { return std::make_unique<Versions>(e, false); });
    Measure("C as A, heads cached", dir,
            [](Engine* e) { return std::make_unique<Heads>(e, true); });
    Measure("D events, heads at flush", dir, [](Engine* e) { return std::make_unique<Lazy>(e); });
    Measure("E as B, heads cached", dir,
            [](Engine* e) { return std::make_unique<Versions>(e, true); });
  }
  MeasureStateMachine(dir);
  std::filesystem::remove_all(dir);
}
