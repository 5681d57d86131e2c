// Large arrays of plain numbers: in huge pages where the system has them, since reads that jump
// between rows would else miss the TLB, and 2 MiB are quicker to get than 512 small pages.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <type_traits>

namespace headlong {

struct FreeMemory {
  void operator()(void* memory) const { std::free(memory); }
};
template <typename T>
using HugeArray = std::unique_ptr<T[], FreeMemory>;

// Not initialized: the system gives a page when it is first written. Null when the memory cannot be
// had. REQUIRES: count >= 0.
template <typename T>
HugeArray<T> TakeHugeArray(int64_t count) {
  static_assert(std::is_trivially_default_constructible_v<T>);
  constexpr size_t kCacheLine = 64;
  constexpr size_t kHugePage = size_t{2} << 20;
  const size_t bytes = static_cast<size_t>(count) * sizeof(T);
  const size_t alignment = bytes >= kHugePage ? kHugePage : kCacheLine;
  void* memory = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (memory != nullptr && alignment == kHugePage) madvise(memory, bytes, MADV_HUGEPAGE);
  return HugeArray<T>(static_cast<T*>(memory));
}

}  // namespace headlong
