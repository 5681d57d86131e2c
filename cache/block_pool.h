// Page ids of one lane class: a free list and reference counts. Host memory only, pure, one owner.
// Invariant: free() + used() == total().
#pragma once

#include <cstdint>
#include <vector>

namespace headlong {

class BlockPool {
 public:
  explicit BlockPool(int32_t total);

  int32_t total() const { return static_cast<int32_t>(references_.size()); }
  int32_t free() const { return static_cast<int32_t>(free_.size()); }
  int32_t used() const { return total() - free(); }

  // A page with one reference. REQUIRES: free() > 0.
  int32_t Allocate();
  // One more owner. REQUIRES: page is in use.
  void AddReference(int32_t page);
  // One owner less; the last one frees it. REQUIRES: page is in use.
  void Release(int32_t page);
  bool shared(int32_t page) const { return references_[page] > 1; }

 private:
  std::vector<int32_t> references_;
  std::vector<int32_t> free_;  // a stack; the lowest ids are handed out first
};

}  // namespace headlong
