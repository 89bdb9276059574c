#include "tests/storage/crash_disk.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "glog/logging.h"

namespace raftkv {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kPage = 4096;
constexpr uint64_t kSector = 512;

}  // namespace

CrashDisk CrashDisk::Of(const std::string& dir) {
  CrashDisk disk;
  for (const auto& [path, contents] : ReadImage(dir)) {
    const bool directory = path.ends_with('/');
    const fs::path p(directory ? path.substr(0, path.size() - 1) : path);
    const Node node = disk.next_node();
    const Node parent = disk.Find(p.parent_path().string());
    disk.Apply({.kind = Change::Kind::kAdd,
                .node = parent,
                .target = node,
                .directory = directory,
                .name = p.filename().string()});
    if (!directory) disk.Apply({.kind = Change::Kind::kWrite, .node = node, .data = contents});
    disk.Apply({.kind = Change::Kind::kSync, .node = node});
    disk.Apply({.kind = Change::Kind::kSync, .node = parent});
  }
  return disk;
}

void CrashDisk::Apply(const Change& change) {
  last_written_ = -1;
  if (change.kind == Change::Kind::kMark) return;
  Contents& node = nodes_.at(change.node);
  if (change.kind == Change::Kind::kSync) {
    node.synced = node.now;
    node.synced_names = node.names;
    node.unsynced.clear();
    return;
  }
  node.unsynced.push_back(change);
  if (!node.directory) {
    Change1(change, &node.now);
    if (change.kind == Change::Kind::kWrite) last_written_ = change.node;
    return;
  }
  Change1(change, &node.names);
  if (change.kind == Change::Kind::kAdd && !nodes_.contains(change.target)) {
    nodes_[change.target].directory = change.directory;
    nodes_[change.target].name = change.name;
  }
}

void CrashDisk::Change1(const Change& change, std::string* file) {
  if (change.kind == Change::Kind::kTruncate) {
    file->resize(change.offset, '\0');
    return;
  }
  CHECK(change.kind == Change::Kind::kWrite);
  file->resize(std::max<size_t>(file->size(), change.offset + change.data.size()), '\0');
  file->replace(change.offset, change.data.size(), change.data);
}

void CrashDisk::Change1(const Change& change, Names* names) {
  switch (change.kind) {
    case Change::Kind::kAdd:
      (*names)[change.name] = change.target;
      break;
    case Change::Kind::kRemove:
      names->erase(change.name);
      break;
    case Change::Kind::kRename: {
      const Node node = names->at(change.name);
      names->erase(change.name);
      (*names)[change.other] = node;
      break;
    }
    case Change::Kind::kExchange:
      std::swap(names->at(change.name), names->at(change.other));
      break;
    default:
      LOG(FATAL) << "not a change of a directory";
  }
}

std::string CrashDisk::FileAfter(Node number, Loss loss, sim::Rng* rng) const {
  const Contents& node = nodes_.at(number);
  std::string file = node.synced;
  // In parts: some files lose everything, some nothing.
  const uint64_t kept = loss == Loss::kUnsynced ? 0 : loss == Loss::kTorn ? 4 : rng->Below(5);
  for (size_t i = 0; i < node.unsynced.size() && kept > 0; ++i) {
    Change change = node.unsynced[i];
    if (loss == Loss::kTorn && number == last_written_ && i + 1 == node.unsynced.size()) {
      const uint64_t first = change.offset / kSector;
      const uint64_t last = (change.offset + change.data.size()) / kSector;
      const uint64_t end = (first + rng->Below(last - first + 1)) * kSector;
      if (end <= change.offset) continue;
      change.data.resize(std::min(end - change.offset, change.data.size()));
    }
    if (kept == 4 || change.kind == Change::Kind::kTruncate) {
      Change1(change, &file);
      continue;
    }
    for (uint64_t at = 0; at < change.data.size();) {
      const uint64_t offset = change.offset + at;
      const uint64_t size = std::min(kPage - offset % kPage, change.data.size() - at);
      if (rng->Below(4) < kept) {
        Change1(
            {.kind = Change::Kind::kWrite, .offset = offset, .data = change.data.substr(at, size)},
            &file);
      }
      at += size;
    }
  }
  return file;
}

CrashDisk::Names CrashDisk::NamesAfter(Node number, Loss loss, sim::Rng* rng) const {
  const Contents& node = nodes_.at(number);
  if (loss == Loss::kTorn) return node.names;
  Names names = node.synced_names;
  const size_t kept = loss == Loss::kUnsynced ? 0 : rng->Below(node.unsynced.size() + 1);
  for (size_t i = 0; i < kept; ++i) Change1(node.unsynced[i], &names);
  return names;
}

void CrashDisk::Collect(Node node, const std::string& path,
                        const std::function<std::string(Node)>& file,
                        const std::function<Names(Node)>& names, Image* image) const {
  for (const auto& [name, target] : names(node)) {
    if (!nodes_.at(target).directory) {
      (*image)[path + name] = file(target);
      continue;
    }
    (*image)[absl::StrCat(path, name, "/")] = "";
    Collect(target, absl::StrCat(path, name, "/"), file, names, image);
  }
}

CrashDisk::Image CrashDisk::After(Loss loss, sim::Rng* rng) const {
  Image image;
  std::map<Node, std::string> drawn;  // a file may have two names
  Collect(
      0, "",
      [&](Node node) {
        const auto found = drawn.find(node);
        return found != drawn.end() ? found->second
                                    : drawn.emplace(node, FileAfter(node, loss, rng)).first->second;
      },
      [&](Node node) { return NamesAfter(node, loss, rng); }, &image);
  return image;
}

CrashDisk::Image CrashDisk::Now() const {
  Image image;
  Collect(
      0, "", [&](Node node) { return nodes_.at(node).now; },
      [&](Node node) { return nodes_.at(node).names; }, &image);
  return image;
}

Node CrashDisk::Find(const std::string& path) const {
  Node node = 0;
  for (const absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    const Names& names = nodes_.at(node).names;
    const auto found = names.find(std::string(part));
    if (found == names.end()) return -1;
    node = found->second;
  }
  return node;
}

void WriteImage(const CrashDisk::Image& image, const std::string& dir) {
  fs::create_directories(dir);
  for (const auto& [path, contents] : image) {
    if (path.ends_with('/')) {
      fs::create_directory(dir + "/" + path);
    } else {
      std::ofstream(dir + "/" + path, std::ios::binary) << contents;
    }
  }
}

CrashDisk::Image ReadImage(const std::string& dir) {
  CrashDisk::Image image;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(dir)) {
    const std::string path = fs::relative(entry.path(), dir).string();
    if (entry.is_directory()) {
      image[path + "/"] = "";
    } else if (!IsTextLog(entry.path().filename().string())) {
      std::ifstream file(entry.path(), std::ios::binary);
      image[path] = std::string(std::istreambuf_iterator<char>(file), {});
    }
  }
  return image;
}

}  // namespace raftkv
