#include "config/config.h"

#include <openssl/sha.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "config/section.h"
#include "config/toml.h"
#include "config/url.h"

namespace raftkv {
namespace {

// The default data directory, NAME.raftkv, must be a file name, which has at most 255 bytes.
constexpr size_t kNameMax = 248;

// Names are used in file names and with -n, where a number means a position.
bool IsName(absl::string_view name) {
  return !name.empty() && name.size() <= kNameMax && name[0] != '.' && name[0] != '-' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.';
         });
}

// Line `number`, from 1, of `text`.
std::string LineOf(const std::string& text, size_t number) {
  std::istringstream lines(text);
  std::string line;
  for (size_t i = 0; i < number; ++i) std::getline(lines, line);
  return line;
}

// The remedy for a line that is not TOML: `what` is the parser's description. Most often text has
// no quotes. TOML takes it for a number or for true and false.
std::string RemedyOf(const std::string& what, absl::string_view line) {
  for (const absl::string_view name : {"member", "members"}) {
    if (!absl::StrContains(what, absl::StrCat("cannot redefine existing table '", name, "'")))
      continue;
    return absl::StrCat("write [[member]], not [", name, "], above each member");
  }
  if (absl::StrContains(what, "cannot redefine existing table")) {
    return "write each section once, with all its keys below it; only [[member]] is repeated";
  }
  absl::string_view value = line.substr(std::min(line.find('='), line.size()));
  absl::ConsumePrefix(&value, "=");
  value = absl::StripAsciiWhitespace(value.substr(0, value.find('#')));
  const bool is_string = absl::StrContains(what, "parsing string");
  const bool is_value = absl::StartsWith(what, "Error while parsing ") &&
                        !absl::StrContains(what, "parsing key") &&
                        !absl::StrContains(what, "parsing table");
  if (is_string || !is_value || value.empty()) return "fix this line or the one before it";
  return absl::StrCat("text and durations need double quotes: \"", value, "\"");
}

const std::vector<std::string>& SectionNames() {
  static const std::vector<std::string> names = {"cluster", "member", "limits", "storage", "log"};
  return names;
}

// The header of a section in the file.
std::string HeaderOf(const std::string& section) {
  return section == "member" ? "[[member]]" : absl::StrCat("[", section, "]");
}

// What to do about an unknown section.
std::string RemedyOfSection(const std::string& name) {
  const std::vector<std::string>& known = SectionNames();
  if (name == "tls") return "TLS is not supported yet";
  const std::string* const nearest = Nearest(name, known);
  if (nearest == nullptr) {
    const auto add = [](std::string* out, const std::string& section) {
      absl::StrAppend(out, HeaderOf(section));
    };
    return absl::StrCat("the sections are ", absl::StrJoin(known, ", ", add));
  }
  if (*nearest == "member") return "write [[member]], once for each member";
  return absl::StrCat("did you mean ", HeaderOf(*nearest), "?");
}

// Reads one file into a Config. If a file has several mistakes, the first one is reported.
class Reader {
 public:
  explicit Reader(const std::string& path)
      : path_(path),
        sections_(path, [this](const std::string& key) { return SectionsWith(key); }) {}

  absl::StatusOr<Config> Read(const std::string& text) {
    toml::parse_result parsed = toml::parse(text, path_);
    if (!parsed) {
      const std::string what =
          absl::StrReplaceAll(std::string(parsed.error().description()), {{"\r", ""}, {"\n", " "}});
      const Line line = parsed.error().source().begin.line;
      Fail(line, absl::StrCat("not TOML: ", what), RemedyOf(what, LineOf(text, line)));
      return sections_.status();
    }
    ReadRoot(parsed.table());
    if (sections_.status().ok()) CheckMembers();
    if (sections_.status().ok()) CheckTimes();
    if (!sections_.status().ok()) return sections_.status();
    DeriveIds(&config_);
    config_.path = path_;
    return std::move(config_);
  }

 private:
  void Fail(Line line, absl::string_view what, absl::string_view remedy) {
    sections_.Fail(line, what, remedy);
  }

  void ReadRoot(const toml::table& root) {
    const std::vector<std::string>& known = SectionNames();
    for (const auto& [key, node] : root) {
      const Line line = key.source().begin.line;
      const std::string name(key.str());
      if (std::find(known.begin(), known.end(), name) == known.end()) {
        if (node.is_table() || node.is_array_of_tables()) {
          const bool list = node.is_array_of_tables();
          Fail(line, absl::StrCat("unknown section ", list ? "[[" : "[", name, list ? "]]" : "]"),
               RemedyOfSection(name));
        } else {
          const std::string sections = SectionsWith(name);
          Fail(line, absl::StrFormat("unknown key \"%s\" outside a section", name),
               absl::StrCat("put it under ", sections.empty()
                                                 ? "[cluster], [[member]], [limits], [storage] or "
                                                   "[log]"
                                                 : sections));
        }
      } else if (name == "member") {
        ReadMembers(node, line);
      } else if (!node.is_table()) {
        Fail(line,
             node.is_array_of_tables() ? absl::StrFormat("[[%s]] is a list of sections", name)
                                       : absl::StrFormat("\"%s\" must be a section", name),
             absl::StrFormat("write [%s], once, with its keys below it", name));
      } else {
        auto lines =
            sections_.Read(absl::StrCat("[", name, "]"), *node.as_table(), line, KeysOf(name));
        if (name == "storage" && sections_.status().ok()) CheckRetention(lines);
        key_lines_.merge(std::move(lines));
      }
    }
  }

  // The headers of the sections with a key of this name, joined by "or".
  std::string SectionsWith(const std::string& key) {
    MemberConfig member;
    std::vector<std::string> headers;
    for (const std::string& section : SectionNames()) {
      const auto keys = section == "member" ? KeysOfMember(&member) : KeysOf(section);
      const auto is_it = [&](const Key& known) { return known.name == key; };
      if (std::any_of(keys.begin(), keys.end(), is_it)) headers.push_back(HeaderOf(section));
    }
    return absl::StrJoin(headers, " or ");
  }

  static std::vector<Key> KeysOfMember(MemberConfig* member) {
    return {{"name", Text{&member->name}, true},
            {"peer_url", Url{&member->peer_url, kPeerPort}, true},
            {"client_url", Url{&member->client_url, kClientPort}, true},
            {"listen_peer_url", Url{&member->listen_peer_url, kPeerPort}},
            {"listen_client_url", Url{&member->listen_client_url, kClientPort}},
            {"listen_metrics_urls", Urls{&member->listen_metrics_urls, kMetricsPort}},
            {"data_dir", Text{&member->data_dir}}};
  }

  std::vector<Key> KeysOf(absl::string_view section) {
    const absl::Duration ms = absl::Milliseconds(1), s = absl::Seconds(1);
    if (section == "cluster") {
      return {{"name", Text{&config_.cluster_name}},
              {"state", Choice{&config_.cluster_state, {"new", "existing"}}},
              {"heartbeat_interval", Duration{&config_.heartbeat_interval, 10 * ms, 10 * s}},
              {"election_timeout", Duration{&config_.election_timeout, 50 * ms, 50 * s}}};
    }
    if (section == "limits") {
      LimitsConfig& to = config_.limits;
      return {{"max_request_bytes", Number{&to.max_request_bytes, 1024, 32 << 20}},
              {"max_txn_ops", Number{&to.max_txn_ops, 1, 65536}},
              {"max_response_bytes", Number{&to.max_response_bytes, 1 << 20, 1 << 30}},
              {"request_timeout", Duration{&to.request_timeout, 100 * ms, 600 * s}},
              {"disk_stall_timeout", Duration{&to.disk_stall_timeout, 100 * ms, 600 * s}},
              {"max_pending_requests", Number{&to.max_pending_requests, 1, 1 << 20}},
              {"watch_progress_notify_interval",
               Duration{&to.watch_progress_notify_interval, 100 * ms, 86'400 * s}}};
    }
    if (section == "storage") {
      StorageConfig& to = config_.storage;
      constexpr int64_t kBytesMax = int64_t{1} << 50;
      return {{"cache_bytes", Number{&to.cache_bytes, 1 << 20, int64_t{1} << 40}},
              {"quota_backend_bytes", Number{&to.quota_backend_bytes, 0, kBytesMax}},
              {"min_free_bytes", Number{&to.min_free_bytes, 0, kBytesMax}},
              {"auto_compaction_mode", Choice{&to.auto_compaction_mode, {"periodic", "revision"}}},
              {"auto_compaction_retention", Text{&to.auto_compaction_retention}}};
    }
    return {{"level", Choice{&config_.log.level, {"info", "warning", "error"}}},
            {"format", Choice{&config_.log.format, {"text", "json"}}}};
  }

  void ReadMembers(const toml::node& node, Line line) {
    if (!node.is_array_of_tables()) {
      return Fail(line, "\"member\" must be a list", "write [[member]], once for each member");
    }
    for (const toml::node& item : *node.as_array()) {
      MemberConfig member;
      const Line begin = item.source().begin.line;
      lines_.push_back(
          sections_.Read("[[member]]", *item.as_table(), begin, KeysOfMember(&member)));
      config_.members.push_back(std::move(member));
    }
  }

  void CheckMembers() {
    if (config_.members.empty()) {
      return Fail(1, "no [[member]]", "add one with name, peer_url and client_url");
    }
    std::map<std::string, Line> names;
    std::map<std::string, Line> addresses;
    std::map<std::string, std::map<std::string, Line>> directories;
    for (size_t i = 0; i < config_.members.size(); ++i) {
      MemberConfig& member = config_.members[i];
      CheckName(member.name, lines_[i]["name"], &names);
      for (const auto& [key, url] :
           {std::pair{"peer_url", &member.peer_url}, std::pair{"client_url", &member.client_url}}) {
        if (IsWildcard(*url)) {
          Fail(lines_[i][key],
               absl::StrFormat("%s \"%s\" is not an address to connect to", key, *url),
               absl::StrFormat("write the address where others reach this member, and add "
                               "listen_%s = \"%s\"",
                               key, *url));
        }
        const auto [at, fresh] = addresses.emplace(AddressOf(*url), lines_[i][key]);
        if (fresh) continue;
        Fail(lines_[i][key],
             absl::StrFormat("%s \"%s\" is already used in line %d", key, *url, at->second),
             "give each URL of each member its own host or port");
      }
      if (member.listen_peer_url.empty()) member.listen_peer_url = member.peer_url;
      if (member.listen_client_url.empty()) member.listen_client_url = member.client_url;
      if (Overlap(member.listen_peer_url, member.listen_client_url)) {
        const auto& lines = lines_[i];
        auto at = lines.find("listen_client_url");
        if (at == lines.end()) at = lines.find("listen_peer_url");
        if (at == lines.end()) at = lines.find("client_url");  // both listen URLs are defaults
        Fail(at->second,
             absl::StrFormat("peers and clients would share port %s",
                             PortOf(member.listen_client_url)),
             "listen on two different ports");
      }
      CheckDirectory(i, &directories);
    }
    for (size_t i = 0; i < config_.members.size(); ++i) CheckMetricsUrls(i, addresses);
  }

  // Whether one process cannot listen on both.
  static bool Overlap(const std::string& a, const std::string& b) {
    return AddressOf(a) == AddressOf(b) ||
           (PortOf(a) == PortOf(b) && (IsWildcard(a) || IsWildcard(b)));
  }

  // `addresses`: of the URLs at which members are reached.
  void CheckMetricsUrls(size_t i, const std::map<std::string, Line>& addresses) {
    const MemberConfig& member = config_.members[i];
    std::vector<std::string> used = {member.listen_peer_url, member.listen_client_url};
    for (const std::string& url : member.listen_metrics_urls) {
      for (const std::string& other : used) {
        if (!Overlap(url, other)) continue;
        Fail(lines_[i]["listen_metrics_urls"],
             absl::StrFormat("listen_metrics_urls: \"%s\" would share a port with \"%s\"", url,
                             other),
             "give it a port of its own");
      }
      used.push_back(url);
      const auto at = addresses.find(AddressOf(url));
      if (at == addresses.end()) continue;
      Fail(lines_[i]["listen_metrics_urls"],
           absl::StrFormat("listen_metrics_urls: \"%s\" is already used in line %d", url,
                           at->second),
           "give it a port of its own");
    }
  }

  // The path in a normal form, without looking at the disk: "da/", "./da" and "x/../da" become
  // "da".
  static std::string Normal(const std::string& dir) {
    const std::filesystem::path path = std::filesystem::path(dir).lexically_normal();
    return (path.has_filename() ? path : path.parent_path()).string();
  }

  // Whether `inner` is `outer` or lies in it. Both are in the normal form.
  static bool IsIn(const std::string& outer, const std::string& inner) {
    const std::filesystem::path way = std::filesystem::path(inner).lexically_relative(outer);
    return !way.empty() && *way.begin() != "..";
  }

  // Two members on one machine must not share a directory, and none may lie in another. Members
  // with the same host in their peer_url are on one machine. `directories`: those of each host.
  void CheckDirectory(size_t i, std::map<std::string, std::map<std::string, Line>>* directories) {
    MemberConfig& member = config_.members[i];
    if (member.data_dir.empty()) member.data_dir = absl::StrCat(member.name, ".raftkv");
    if (member.data_dir == "~" || absl::StartsWith(member.data_dir, "~/")) {
      Fail(lines_[i]["data_dir"],
           absl::StrFormat("data_dir \"%s\": \"~\" is not replaced by a home directory",
                           member.data_dir),
           "write the whole path");
    }
    if (absl::StartsWith(member.data_dir, "$")) {
      Fail(lines_[i]["data_dir"],
           absl::StrFormat("data_dir \"%s\": variables are not expanded", member.data_dir),
           "write the whole path");
    }
    const std::string address = AddressOf(member.peer_url);
    const std::string host = address.substr(0, address.rfind(':'));
    const Line line = lines_[i].count("data_dir") ? lines_[i]["data_dir"] : lines_[i]["name"];
    std::map<std::string, Line>& used = (*directories)[host];
    const std::string dir = Normal(member.data_dir);
    for (const auto& [other, other_line] : used) {
      const std::string how = dir == other       ? "is already used in"
                              : IsIn(other, dir) ? "lies in the directory of"
                              : IsIn(dir, other) ? "contains the directory of"
                                                 : "";
      if (how.empty()) continue;
      Fail(line, absl::StrFormat("data_dir \"%s\" %s line %d", member.data_dir, how, other_line),
           "give each member on one machine its own directory");
    }
    used.emplace(dir, line);
  }

  void CheckName(const std::string& name, Line line, std::map<std::string, Line>* names) {
    if (!IsName(name)) {
      return Fail(line, absl::StrFormat("name \"%s\" is not a valid member name", name),
                  absl::StrCat("use up to ", kNameMax,
                               " letters, digits, '-', '_' and '.', a letter or digit first"));
    }
    if (std::all_of(name.begin(), name.end(), absl::ascii_isdigit)) {
      return Fail(
          line, absl::StrFormat("name \"%s\" is all digits", name),
          absl::StrFormat("add a letter, such as \"n%s\": a bare number means a position", name));
    }
    const auto [at, fresh] = names->emplace(name, line);
    if (!fresh) {
      Fail(line, absl::StrFormat("name \"%s\" is already used in line %d", name, at->second),
           "give each member its own name");
    }
  }

  // As in etcd: a number of hours or a duration, or else a number of revisions.
  void CheckRetention(const std::map<std::string, Line>& lines) {
    StorageConfig& storage = config_.storage;
    const std::string& text = storage.auto_compaction_retention;
    const bool by_revision = storage.auto_compaction_mode == "revision";
    int64_t number = 0;
    absl::Duration& period = storage.auto_compaction_period;
    const bool is_number = absl::SimpleAtoi(text, &number);
    if (by_revision) {
      storage.auto_compaction_revisions = number;
      if (is_number && number >= 0) return;
    } else {
      if (is_number) period = absl::Hours(number);
      const bool valid = is_number || absl::ParseDuration(text, &period);
      const bool short_enough = period <= absl::Hours(24 * 366);
      if (valid && short_enough && (period == absl::ZeroDuration() || period >= absl::Seconds(1)))
        return;
    }
    const auto line = lines.find("auto_compaction_retention");
    Fail(line == lines.end() ? 1 : line->second,
         absl::StrFormat("auto_compaction_retention \"%s\" is not valid in mode \"%s\"", text,
                         storage.auto_compaction_mode),
         by_revision ? "write a number of revisions, such as \"10000\", or \"0\" for never"
                     : "write hours or a duration from 1s to a year, such as \"24\" or \"30m\", or "
                       "\"0\" for never");
  }

  // As in etcd: with fewer than five heartbeats in an election timeout, one or two lost packets
  // would start a needless election.
  void CheckTimes() {
    if (config_.election_timeout < 5 * config_.heartbeat_interval) {
      const Line line = key_lines_.count("election_timeout") ? key_lines_["election_timeout"]
                                                             : key_lines_["heartbeat_interval"];
      Fail(line,
           absl::StrFormat("election_timeout %s is less than five times heartbeat_interval %s",
                           absl::FormatDuration(config_.election_timeout),
                           absl::FormatDuration(config_.heartbeat_interval)),
           absl::StrFormat("raise it to %s or lower heartbeat_interval",
                           absl::FormatDuration(5 * config_.heartbeat_interval)));
    }
    LimitsConfig& limits = config_.limits;
    if (key_lines_.count("request_timeout") == 0) {
      limits.request_timeout = absl::Seconds(5) + 2 * config_.election_timeout;
    } else if (limits.request_timeout <= config_.election_timeout) {
      return Fail(key_lines_["request_timeout"],
                  absl::StrFormat("request_timeout %s is not more than election_timeout %s",
                                  absl::FormatDuration(limits.request_timeout),
                                  absl::FormatDuration(config_.election_timeout)),
                  "raise it, so that requests can wait for an election");
    }
    if (key_lines_.count("disk_stall_timeout") == 0) {
      limits.disk_stall_timeout =
          std::max(config_.election_timeout,
                   std::min(limits.disk_stall_timeout, limits.request_timeout * 0.9));
    } else if (limits.disk_stall_timeout < config_.election_timeout ||
               limits.disk_stall_timeout >= limits.request_timeout) {
      Fail(key_lines_["disk_stall_timeout"],
           absl::StrFormat("disk_stall_timeout %s is not from election_timeout %s to less than "
                           "request_timeout %s",
                           absl::FormatDuration(limits.disk_stall_timeout),
                           absl::FormatDuration(config_.election_timeout),
                           absl::FormatDuration(limits.request_timeout)),
           "choose a value within that range");
    }
  }

  const std::string path_;
  SectionReader sections_;
  Config config_;
  std::vector<std::map<std::string, Line>> lines_;  // for each member: the line of each key
  std::map<std::string, Line> key_lines_;           // of the other sections
};

uint64_t FirstEightBytesOfSha1(const std::string& text) {
  unsigned char digest[SHA_DIGEST_LENGTH];
  SHA1(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  uint64_t id = 0;
  for (int i = 0; i < 8; ++i) id = id << 8 | digest[i];
  return id;
}

}  // namespace

absl::StatusOr<Config> LoadConfig(const std::string& path) {
  errno = 0;
  std::ifstream file(path);
  std::ostringstream text;
  const bool read = file && (text << file.rdbuf());
  if (!read && errno != 0) {  // without errno, the file is just empty
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: cannot be read: %s; give a readable file with -c", path, std::strerror(errno)));
  }
  return Reader(path).Read(text.str());
}

absl::StatusOr<Config> ParseConfig(const std::string& text) {
  absl::StatusOr<Config> config = Reader("configuration").Read(text);
  if (config.ok()) config->path.clear();
  return config;
}

Config DefaultConfig() {
  Config config;
  MemberConfig member;
  member.name = "default";
  member.peer_url = member.listen_peer_url = "http://127.0.0.1:2380";
  member.client_url = member.listen_client_url = "http://127.0.0.1:2379";
  member.data_dir = "default.raftkv";
  config.members.push_back(std::move(member));
  DeriveIds(&config);
  return config;
}

absl::StatusOr<size_t> FindMember(const Config& config, const std::string& which) {
  const std::vector<MemberConfig>& members = config.members;
  if (which.empty() && members.size() == 1) return 0;
  size_t position = 0;
  if (absl::SimpleAtoi(which, &position) && position >= 1 && position <= members.size()) {
    return position - 1;
  }
  std::vector<std::string> names;
  for (size_t i = 0; i < members.size(); ++i) {
    if (members[i].name == which) return i;
    names.push_back(members[i].name);
  }
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s; give -n one of %s, or a number from 1 to %d",
      which.empty() ? "no member given" : absl::StrFormat("no member \"%s\"", which),
      absl::StrJoin(names, ", "), members.size()));
}

uint64_t MemberIdOf(const std::string& peer_url, const std::string& cluster_name) {
  return FirstEightBytesOfSha1(peer_url + cluster_name);
}

void DeriveIds(Config* config, const std::string& token) {
  std::vector<uint64_t> ids;
  for (MemberConfig& member : config->members) {
    member.id = MemberIdOf(member.peer_url, config->cluster_name + token);
    ids.push_back(member.id);
  }
  config->cluster_id = ClusterIdOf(std::move(ids));
}

uint64_t ClusterIdOf(std::vector<uint64_t> member_ids) {
  std::sort(member_ids.begin(), member_ids.end());
  std::string bytes;
  for (uint64_t id : member_ids) {
    for (int shift = 56; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(id >> shift));
  }
  return FirstEightBytesOfSha1(bytes);
}

std::vector<std::string> NamesIn(const Config& config) {
  std::vector<std::string> names;
  for (const MemberConfig& member : config.members) names.push_back(member.name);
  return names;
}

void SortAsListed(const std::vector<std::string>& listed, std::vector<std::string>* names) {
  std::stable_sort(names->begin(), names->end(), [&](const auto& a, const auto& b) {
    return std::find(listed.begin(), listed.end(), a) < std::find(listed.begin(), listed.end(), b);
  });
}

}  // namespace raftkv
