#ifndef RAFTKV_STORAGE_MVCC_OVERLAY_H_
#define RAFTKV_STORAGE_MVCC_OVERLAY_H_

// A view of an engine as it will be once a batch is written, so that entries applied in one batch
// see each other's changes. The writer uses it for operations that must read more than a head. The
// index over the batch is built at the first read and extended at later ones.
//
// Forward iteration only; batches with range deletions are not supported (CHECK).

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "storage/engine/engine.h"

namespace raftkv::mvcc {

class Overlay final : public View {
 public:
  // Both must outlive it. After batch.Clear(), call Reset.
  Overlay(const Engine& engine, const WriteBatch& batch) : engine_(engine), batch_(batch) {}

  void Reset();

  std::optional<std::string> Get(std::string_view key) const override;
  // Shows the batch as it is now. Later changes show after the next call of Get or NewIterator.
  std::unique_ptr<Iterator> NewIterator(std::string_view upper = {},
                                        int64_t* skips_left = nullptr) const override;

  using Changes = std::map<std::string, std::optional<std::string>, std::less<>>;

 private:
  void CatchUp() const;

  const Engine& engine_;
  const WriteBatch& batch_;
  mutable Changes changes_;
  mutable size_t indexed_ = 0;  // operations of the batch that changes_ holds
};

}  // namespace raftkv::mvcc

#endif  // RAFTKV_STORAGE_MVCC_OVERLAY_H_
