// Reads a large range in pages, each of which is a call of its own. All pages show the store at one
// revision. Works with every member of raftkv and etcd. Client::Pages (raftkv.h) creates it.
//
//   Pages pages = client->Pages(Keys::Prefix("jobs/"));
//   for (const KeyValue& kv : pages) Use(kv);
//   if (!pages.status().ok()) return pages.status();       // the loop has ended early
//
// Or page by page: while (pages.Next()) Use(pages.page());
#ifndef RAFTKV_CLIENT_RAFTKV_PAGES_H_
#define RAFTKV_CLIENT_RAFTKV_PAGES_H_

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "kv.h"  // relative, because the installed headers have no folder client/
#include "request.h"

namespace raftkv::client {

struct PageOptions {
  // The size of an answer, on the network and about as much in memory. A larger one is not
  // received. A pair that is larger is a page of its own.
  size_t page_bytes = 1 << 20;
  int64_t revision = 0;  // read the store as of this revision; 0: as of the first page
  bool keys_only = false;
};

// One thread at a time may use it. The client must outlive it. It has connections of its own, so
// keep it for large ranges.
class Pages {
 public:
  Pages(Pages&&) noexcept;
  Pages& operator=(Pages&&) noexcept;
  ~Pages();

  // Reads the next page. False: there is none, or status() is an error. A page is never empty.
  // After an error that may be temporary, such as Unavailable, Next may be called again.
  bool Next(const CallOptions& options = {});
  const std::vector<KeyValue>& page() const;  // the last one that was read
  // OutOfRange "etcdserver: mvcc: required revision has been compacted": reading took longer than
  // the cluster keeps its history. Begin again, with new Pages.
  const absl::Status& status() const;
  // The revision that all pages show; 0 before the first page. A watch from revision() + 1 on
  // returns all later changes.
  int64_t revision() const;

  // Goes through the pairs that were not returned yet, and reads pages as needed.
  class Iterator {
   public:
    using value_type = KeyValue;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;

    const KeyValue& operator*() const { return pages_->page()[index_]; }
    const KeyValue* operator->() const { return &**this; }
    Iterator& operator++() {
      if (++index_ == pages_->page().size()) ReadPage();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const Iterator& iterator, std::default_sentinel_t) {
      return iterator.pages_ == nullptr;
    }

   private:
    friend class Pages;
    explicit Iterator(Pages* pages) : pages_(pages) { ReadPage(); }
    void ReadPage() {
      index_ = 0;
      if (!pages_->Next()) pages_ = nullptr;
    }

    Pages* pages_;  // null: the end
    size_t index_ = 0;
  };
  Iterator begin() { return Iterator(this); }
  std::default_sentinel_t end() const { return {}; }

 private:
  friend class Client;
  class Impl;
  explicit Pages(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_RAFTKV_PAGES_H_
