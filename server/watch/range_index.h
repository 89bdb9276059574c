#ifndef RAFTKV_SERVER_WATCH_RANGE_INDEX_H_
#define RAFTKV_SERVER_WATCH_RANGE_INDEX_H_

// Finds the items whose ranges contain a key. Items of one key are in a hash table; the hash is
// seeded, because clients choose the keys. Other ranges are in an interval tree: a treap, ordered
// by range, in which each node knows the greatest end below it. Items of equal ranges share a node.
// Finding takes O(log n) expected time and O(log n) for each range that contains the key; adding
// and removing take O(log n).
//
// The order of the items found depends only on their ranges and on what was added and removed.

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "storage/base/seeded_hash.h"

namespace raftkv::watch {

// The keys from `key` to `range_end`, which is excluded, as in etcd. An empty range_end means the
// single key; one zero byte means no end. The range must contain at least one key.
struct RangeView {
  std::string_view key;
  std::string_view range_end;

  bool one_key() const { return range_end.empty(); }
  bool open() const { return range_end == std::string_view("\0", 1); }
};

// T has a member `size_t index_slot`, which belongs to the index while the item is in it.
template <typename T>
class RangeIndex {
 public:
  RangeIndex() = default;
  RangeIndex(const RangeIndex&) = delete;
  RangeIndex& operator=(const RangeIndex&) = delete;

  void Add(RangeView range, T* item) {
    if (range.one_key()) {
      Append(&points_[range.key], item);
    } else {
      root_ = Insert(std::move(root_), range, item);
    }
  }

  // The item must have been added with this range.
  void Remove(RangeView range, T* item) {
    if (!range.one_key()) {
      root_ = Erase(std::move(root_), range, item);
      return;
    }
    const auto found = points_.find(range.key);
    Take(&found->second, item);
    if (found->second.empty()) points_.erase(found);
  }

  // Adds the items whose ranges contain `key` to `found`.
  void Find(std::string_view key, std::vector<T*>* found) const {
    if (const auto point = points_.find(key); point != points_.end()) {
      found->insert(found->end(), point->second.begin(), point->second.end());
    }
    Find(root_.get(), key, found);
  }

 private:
  struct KeyHash {
    using is_transparent = void;
    size_t operator()(std::string_view key) const { return SeededHash(key); }
  };
  struct Node {
    std::string begin, end;
    bool open = false;
    uint64_t priority = 0;  // not less than the priorities of the children
    std::vector<T*> items;
    std::unique_ptr<Node> left, right;
    const Node* reach = nullptr;  // the node with the greatest end in this subtree
  };
  using Tree = std::unique_ptr<Node>;

  static void Append(std::vector<T*>* items, T* item) {
    item->index_slot = items->size();
    items->push_back(item);
  }
  // The last item takes the place of the removed one.
  static void Take(std::vector<T*>* items, T* item) {
    T* const last = items->back();
    (*items)[item->index_slot] = last;
    last->index_slot = item->index_slot;
    items->pop_back();
  }

  static bool EndsLater(const Node& a, const Node& b) {
    return !b.open && (a.open || a.end > b.end);
  }
  static bool EndsAfter(const Node& node, std::string_view key) {
    return node.open || node.end > key;
  }
  static void Update(Node* node) {
    node->reach = node;
    for (const Node* child : {node->left.get(), node->right.get()}) {
      if (child != nullptr && EndsLater(*child->reach, *node->reach)) node->reach = child->reach;
    }
  }
  // Negative: the range sorts before the node's.
  static int Compare(RangeView range, const Node& node) {
    if (const int order = range.key.compare(node.begin); order != 0) return order;
    if (range.open() != node.open) return range.open() ? 1 : -1;
    return node.open ? 0 : range.range_end.compare(node.end);
  }

  static Tree Rotate(Tree node, Tree Node::*up, Tree Node::*other) {
    Tree child = std::move((*node).*up);
    (*node).*up = std::move((*child).*other);
    Update(node.get());
    (*child).*other = std::move(node);
    Update(child.get());
    return child;
  }

  static Tree Insert(Tree node, RangeView range, T* item) {
    if (node == nullptr) {
      node = std::make_unique<Node>();
      node->begin = range.key;
      node->open = range.open();
      if (!node->open) node->end = range.range_end;
      node->priority = SeededHash(node->begin) ^ (SeededHash(range.range_end) >> 1);
      Append(&node->items, item);
      Update(node.get());
      return node;
    }
    const int order = Compare(range, *node);
    if (order == 0) {
      Append(&node->items, item);
      return node;
    }
    Tree Node::*const side = order < 0 ? &Node::left : &Node::right;
    (*node).*side = Insert(std::move((*node).*side), range, item);
    if (((*node).*side)->priority > node->priority) {
      return Rotate(std::move(node), side, order < 0 ? &Node::right : &Node::left);
    }
    Update(node.get());
    return node;
  }

  static Tree Erase(Tree node, RangeView range, T* item) {
    const int order = Compare(range, *node);
    if (order != 0) {
      Tree Node::*const side = order < 0 ? &Node::left : &Node::right;
      (*node).*side = Erase(std::move((*node).*side), range, item);
    } else {
      Take(&node->items, item);
      if (node->items.empty()) return Join(std::move(node->left), std::move(node->right));
    }
    Update(node.get());
    return node;
  }

  // All of `left` sorts before all of `right`.
  static Tree Join(Tree left, Tree right) {
    if (left == nullptr) return right;
    if (right == nullptr) return left;
    Tree* const root = left->priority > right->priority ? &left : &right;
    if (root == &left) {
      left->right = Join(std::move(left->right), std::move(right));
    } else {
      right->left = Join(std::move(left), std::move(right->left));
    }
    Update(root->get());
    return std::move(*root);
  }

  static void Find(const Node* node, std::string_view key, std::vector<T*>* found) {
    if (node == nullptr || !EndsAfter(*node->reach, key)) return;
    Find(node->left.get(), key, found);
    if (node->begin > key) return;
    if (EndsAfter(*node, key)) {
      found->insert(found->end(), node->items.begin(), node->items.end());
    }
    Find(node->right.get(), key, found);
  }

  // Used for lookups only: the order of an iteration would be random.
  absl::flat_hash_map<std::string, std::vector<T*>, KeyHash, std::equal_to<>> points_;
  Tree root_;
};

}  // namespace raftkv::watch

#endif  // RAFTKV_SERVER_WATCH_RANGE_INDEX_H_
