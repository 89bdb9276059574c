#ifndef RAFTKV_TESTS_STORAGE_CRASH_DISK_H_
#define RAFTKV_TESTS_STORAGE_CRASH_DISK_H_

// What a power loss leaves of the files of a program.
//
// A Recording records every change of the files under one directory. The test program defines
// libc's functions that change files (crash_disk_calls.cc), so the changes are those of RocksDB, of
// the C++ library and of our own code alike, in their order. A CrashDisk replays a part of the
// changes and writes what a power loss at that moment may leave into another directory.
//
// The rules are those that a program may rely on (POSIX): the contents of a file survive once the
// file was synced, its name survives once the directory was synced. What was not synced may be lost
// in whole or in part. The names of one directory change in order, so a part of these changes is a
// prefix. A write that was not synced may be torn at each 512 bytes.

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/rng.h"

namespace raftkv {

// RocksDB's LOG and LOG.old.* are text for people. They are neither recorded nor compared.
inline bool IsTextLog(const std::string& name) { return name.starts_with("LOG"); }

using Node = int;  // a file or a directory, by the order of creation; 0 is the recorded directory

struct Change {
  enum class Kind {
    kAdd,       // the directory `node` gets the name `name` for `target`
    kRemove,    // the directory `node` loses the name `name`
    kRename,    // `name` becomes `other`, and replaces an `other` that exists
    kExchange,  // `name` and `other` are exchanged
    kWrite,     // `data` at `offset` of the file `node`
    kTruncate,  // the file gets `offset` bytes
    kSync,      // the file or directory is synced
    kMark,      // the program's own note: `offset`
  };
  Kind kind = Kind::kMark;
  Node node = 0;
  Node target = -1;
  bool directory = false;  // kAdd: `target` is a new directory
  uint64_t offset = 0;
  std::string name = {}, other = {}, data = {};
};

enum class Loss {
  kUnsynced,  // everything that was not synced
  kPart,      // a random part of it, in pages of 4 KiB
  kTorn,      // nothing but the end of the newest write, from a multiple of 512 bytes on
};

class CrashDisk {
 public:
  CrashDisk() { nodes_[0].directory = true; }
  // Everything in `dir` counts as synced.
  static CrashDisk Of(const std::string& dir);

  void Apply(const Change& change);

  // Paths and contents. The paths of directories end with '/' and come before what is in them.
  using Image = std::map<std::string, std::string>;
  Image After(Loss loss, sim::Rng* rng) const;
  // The files as the program sees them.
  Image Now() const;

  // -1: there is no such path. An empty path is the recorded directory.
  Node Find(const std::string& path) const;
  Node next_node() const { return static_cast<Node>(nodes_.size()); }
  bool is_directory(Node node) const { return nodes_.at(node).directory; }
  uint64_t size(Node node) const { return nodes_.at(node).now.size(); }
  // The name under which the node was created, without its directory.
  const std::string& name(Node node) const { return nodes_.at(node).name; }

 private:
  using Names = std::map<std::string, Node>;
  struct Contents {  // of a file or a directory, as seen and as synced
    bool directory = false;
    std::string name;
    std::string now, synced;
    Names names, synced_names;
    std::vector<Change> unsynced;
  };
  static void Change1(const Change& change, std::string* file);
  static void Change1(const Change& change, Names* names);
  std::string FileAfter(Node node, Loss loss, sim::Rng* rng) const;
  Names NamesAfter(Node node, Loss loss, sim::Rng* rng) const;
  void Collect(Node node, const std::string& path, const std::function<std::string(Node)>& file,
               const std::function<Names(Node)>& names, Image* image) const;

  std::map<Node, Contents> nodes_;
  Node last_written_ = -1;  // the file of the last change, if that was a write
};

void WriteImage(const CrashDisk::Image& image, const std::string& dir);
CrashDisk::Image ReadImage(const std::string& dir);

// Records while it exists. One at a time.
class Recording {
 public:
  // `root` is absolute. `ignored` gets the name of a file or a directory as it was created, that of
  // a directory with a '/' at its end, and "/" for the root. If it returns true, the sync is not
  // recorded: a planted bug.
  explicit Recording(const std::string& root, std::function<bool(const std::string&)> ignored = {});
  ~Recording();

  void Mark(uint64_t number);
  // Ends the recording.
  std::vector<Change> Take();

  // For crash_disk_calls.cc: each makes the call, and records what it changed. The recorder is
  // locked for the whole call, so that the order of the record is that of the changes.
  static int Open(int at, const char* path, int flags, unsigned mode);
  static int Close(int fd);
  static ssize_t Write(int fd, const void* data, size_t size, int64_t offset);  // -1: at the end
  static int Truncate(int fd, const char* path, int64_t size);
  static int Sync(int fd);
  static int Rename(const char* from, const char* to, unsigned flags);
  static int Link(const char* from, const char* to);
  static int Unlink(int at, const char* path, int flags);
  static int MakeDirectory(const char* path, unsigned mode);

 private:
  struct Place {  // a name in a recorded directory
    Node directory = -1;
    std::string name;
    Node node = -1;
  };
  Place Find(int at, const char* path) const;
  void Add(Change change);

  static std::mutex mutex_;  // not abseil's, which itself opens files
  static Recording* recording_;

  const std::string root_;
  const std::function<bool(const std::string&)> ignored_;
  CrashDisk disk_;
  std::map<int, Node> files_;  // by file descriptor
  std::vector<Change> changes_;
};

}  // namespace raftkv

#endif  // RAFTKV_TESTS_STORAGE_CRASH_DISK_H_
