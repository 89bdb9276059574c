#include "client/cli/kv_arguments.h"

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/cli/usage.h"

namespace raftkv::client {
namespace {

template <typename Value>
struct Named {
  const char* name;
  Value value;
};
constexpr Named<SortBy> kSortBy[] = {{"CREATE", SortBy::kCreateRevision},
                                     {"KEY", SortBy::kKey},
                                     {"MODIFY", SortBy::kModRevision},
                                     {"VALUE", SortBy::kValue},
                                     {"VERSION", SortBy::kVersion}};
constexpr Named<Order> kOrder[] = {{"ASCEND", Order::kAscend}, {"DESCEND", Order::kDescend}};

template <typename Value, size_t size>
absl::Status Choose(const char* flag, const std::string& text, const Named<Value> (&names)[size],
                    Value* value) {
  if (text.empty()) return absl::OkStatus();
  std::string all;
  for (const Named<Value>& named : names) {
    if (absl::EqualsIgnoreCase(named.name, text)) {
      *value = named.value;
      return absl::OkStatus();
    }
    absl::StrAppend(&all, all.empty() ? "" : ", ", named.name);
  }
  return absl::InvalidArgumentError(absl::StrCat(flag, ": \"", text, "\" is not one of ", all));
}

// CLI11 itself treats an empty argument as a missing one.
void AddOptional(CLI::App& verb, const char* name, std::optional<std::string>* value,
                 const char* description) {
  verb.add_option_function<std::string>(
      name, [value](const std::string& given) { *value = given; }, description);
}

}  // namespace

void KeyArguments::AddTo(CLI::App& verb) {
  verb.add_option_function<std::string>(
          "key", [this](const std::string& given) { key_ = given; },
          "the key, or the first key of a range")
      ->required();
  AddOptional(verb, "range_end", &range_end_, "end of the range, not included");
  verb.add_flag("--prefix", prefix_, "all keys with this prefix");
  verb.add_flag("--from-key", from_key_, "this key and all keys after it");
}

absl::StatusOr<Keys> KeyArguments::ToKeys() const {
  if (prefix_ && from_key_) {
    return absl::InvalidArgumentError(
        "`--prefix` and `--from-key` cannot be set at the same time, choose one");
  }
  if ((prefix_ || from_key_) && range_end_.has_value()) {
    return absl::InvalidArgumentError(
        "too many arguments, only accept one argument when `--prefix` or `--from-key` is set");
  }
  if (prefix_) return Keys::Prefix(*key_);
  if (from_key_) return Keys::From(*key_);
  return Keys::Range(*key_, range_end_.value_or(""));
}

void GetArguments::AddTo(CLI::App& verb) {
  keys.AddTo(verb);
  AddNumber(verb, "--limit", read.limit, "return at most this many keys (0: all)");
  AddNumber(verb, "--rev", read.revision, "read as of this revision (0: now)");
  verb.add_option("--sort-by", sort_by, "CREATE, KEY, MODIFY, VALUE or VERSION");
  verb.add_option("--order", order, "ASCEND or DESCEND");
  verb.add_flag("--keys-only", read.keys_only, "print no values");
  verb.add_flag("--count-only", read.count_only, "print only the number of keys");
  verb.add_flag("--print-value-only", value_only, "print no keys");
  verb.add_option("--consistency", consistency,
                  "l: linearizable, never stale; s: serializable, local, may be stale")
      ->capture_default_str();
}

absl::Status GetArguments::Validate() {
  if (consistency != "l" && consistency != "s") {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown consistency flag \"", consistency, "\", use l or s"));
  }
  read.serializable = consistency == "s";
  if (read.keys_only && (read.count_only || value_only)) {
    return absl::InvalidArgumentError(
        absl::StrCat("`--keys-only` and `", read.count_only ? "--count-only" : "--print-value-only",
                     "` cannot be set at the same time, choose one"));
  }
  absl::Status status = Choose("--sort-by", sort_by, kSortBy, &read.sort_by);
  status.Update(Choose("--order", order, kOrder, &read.order));
  return status;
}

void PutArguments::AddTo(CLI::App& verb) {
  verb.add_option("key", key, "the key")->required();
  AddOptional(verb, "value", &value,
              "the value; if it is - or absent, standard input. Write -- before a value that "
              "looks like a flag, such as -x");
  verb.add_flag("--prev-kv", options.prev_kv, "print the previous key and value");
  verb.add_option("--lease", lease,
                  "ID of a lease in hexadecimal; the key is deleted when it ends");
  verb.add_flag("--ignore-value", options.ignore_value,
                "keep the current value; takes no value argument");
  verb.add_flag("--ignore-lease", options.ignore_lease, "keep the current lease");
}

absl::Status PutArguments::Validate() {
  if (!lease.empty() && !absl::SimpleHexAtoi(lease, &options.lease)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--lease: \"", lease, "\" is not an ID in hexadecimal"));
  }
  if (options.ignore_value && value.has_value()) {
    return absl::InvalidArgumentError("put takes no value when `--ignore-value` is set");
  }
  return absl::OkStatus();
}

void DeleteArguments::AddTo(CLI::App& verb) {
  keys.AddTo(verb);
  verb.add_flag("--prev-kv", options.prev_kv, "print the deleted keys and values");
}

}  // namespace raftkv::client
