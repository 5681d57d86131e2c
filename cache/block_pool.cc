#include "cache/block_pool.h"

#include "cache/check.h"

namespace headlong {

using cache_internal::Check;

BlockPool::BlockPool(int32_t total) {
  Check(total >= 0, "a pool has a size");
  references_.assign(total, 0);
  free_.reserve(total);
  for (int32_t page = total - 1; page >= 0; --page) free_.push_back(page);
}

int32_t BlockPool::Allocate() {
  Check(!free_.empty(), "callers ask free() before they allocate");
  const int32_t page = free_.back();
  free_.pop_back();
  Check(references_[page] == 0, "a free page has no owner");
  references_[page] = 1;
  return page;
}

void BlockPool::AddReference(int32_t page) {
  Check(page >= 0 && page < total() && references_[page] > 0, "only a page in use is shared");
  ++references_[page];
}

void BlockPool::Release(int32_t page) {
  Check(page >= 0 && page < total() && references_[page] > 0, "only a page in use is released");
  if (--references_[page] == 0) free_.push_back(page);
}

}  // namespace headlong
