// The work of a CTA of the decode kernels: its items, and which of their slots a query sees.
#pragma once

#include "worker/kernels/decode_state.cuh"

namespace headlong::cuda {

inline constexpr int kBlock = 16;        // tokens of a load and of an MMA
inline constexpr int kStagedItems = 32;  // of a CTA, copied to shared memory at the start

// The items of a CTA; the first ones come from shared memory.
struct ItemList {
  const DecodeItem* staged;
  const DecodeItem* all;
  int count;
  __device__ const DecodeItem& operator[](int i) const {
    return i < kStagedItems ? staged[i] : all[i];
  }
};

// By all threads of a CTA; past the L1, whatever that may hold of the step before.
__device__ inline void StageItems(const ItemList& items, std::byte* shared) {
  constexpr int kWords = sizeof(DecodeItem) / 8;
  for (int i = threadIdx.x; i < min(items.count, kStagedItems) * kWords; i += kDecodeThreads) {
    reinterpret_cast<long long*>(shared)[i] =
        __ldcg(reinterpret_cast<const long long*>(items.all) + i);
  }
}

inline constexpr uint32_t kAllRows = (1u << kBlock) - 1;

// The slots whose blocks the query sees whole: those behind the gap, which as a rule is in the
// first block, up to the last whole block.
struct WholeBlocks {
  int begin = 0;
  uint32_t count = 0;

  WholeBlocks() = default;
  __device__ explicit WholeBlocks(const DecodeItem& item) {
    const DecodeLane& lane = item.lane;
    begin = lane.gap_begin < lane.gap_end ? (lane.gap_end + kBlock - 1) & -kBlock : 0;
    count = max((item.end & -kBlock) - begin, 0);
  }
  // slot: a multiple of kBlock.
  __device__ bool Has(int slot) const { return static_cast<uint32_t>(slot - begin) < count; }
};
// Bit r: the query sees slot + r of the item.
__device__ inline uint32_t LiveRows(const DecodeItem& item, int slot) {
  const int gap_begin = item.lane.gap_begin, gap_end = item.lane.gap_end;
  uint32_t live = kAllRows;
  if (slot + kBlock > item.end) live = (1u << (item.end - slot)) - 1;
  if (slot < gap_end && slot + kBlock > gap_begin) {
    const int first = max(gap_begin - slot, 0), last = min(gap_end - slot, kBlock);
    live &= ~(((1u << last) - 1) & ~((1u << first) - 1));
  }
  return live;
}

// A thread's place in its warp, which the compiler keeps and does not ask for again.
__device__ inline uint32_t ThreadOfWarp() {
  uint32_t thread;
  asm volatile("mov.u32 %0, %%laneid;" : "=r"(thread));
  return thread;
}

}  // namespace headlong::cuda
