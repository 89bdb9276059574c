#include "server/watch/range_index.h"

#include <algorithm>
#include <list>
#include <random>
#include <set>

#include "gtest/gtest.h"
#include "tests/model/model.h"

namespace raftkv::watch {
namespace {

struct Item {
  std::string key;
  std::string range_end;
  size_t index_slot = 0;
};

// Adds and removes random ranges, and compares what is found with a walk over all of them.
TEST(WatchRangeIndex, FindsExactlyTheRangesThatContainAKey) {
  std::mt19937_64 random(7);
  const auto key = [&random] {
    std::string text(random() % 3, 'a');
    for (char& c : text) c = static_cast<char>('a' + random() % 4);
    return text;
  };
  RangeIndex<Item> index;
  std::list<Item> items;
  size_t found_in_all = 0;
  for (int step = 0; step < 20'000; ++step) {
    if (items.size() < 60 || random() % 2 == 0) {
      Item item{.key = key(), .range_end = ""};
      const uint64_t kind = random() % 4;
      if (kind == 1) item.range_end = std::string(1, '\0');
      if (kind >= 2) item.range_end = std::max(item.key, key()) + "b";
      items.push_back(item);
      index.Add({items.back().key, items.back().range_end}, &items.back());
    } else {
      const auto victim = std::next(items.begin(), static_cast<int64_t>(random() % items.size()));
      index.Remove({victim->key, victim->range_end}, &*victim);
      items.erase(victim);
    }
    const std::string wanted = key();
    std::vector<Item*> found;
    index.Find(wanted, &found);
    std::multiset<Item*> expected;
    for (Item& item : items) {
      if (InRange(wanted, item.key, item.range_end)) expected.insert(&item);
    }
    ASSERT_EQ(std::multiset<Item*>(found.begin(), found.end()), expected) << "step " << step;
    found_in_all += found.size();
  }
  EXPECT_GT(found_in_all, 100'000u);
}

// To remove an item takes no longer if many items have the same range. (Once it took half a
// minute.)
TEST(WatchRangeIndex, ManyItemsOfOneRange) {
  std::vector<Item> items(1 << 18);
  for (const std::string& range_end : {std::string(), std::string("z")}) {
    RangeIndex<Item> index;
    for (Item& item : items) index.Add({"k", range_end}, &item);
    for (Item& item : items) index.Remove({"k", range_end}, &item);
    std::vector<Item*> found;
    index.Find("k", &found);
    EXPECT_TRUE(found.empty());
  }
}

}  // namespace
}  // namespace raftkv::watch
