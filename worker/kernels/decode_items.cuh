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

// Which slots of an item the query sees: all of a block that begins before this one.
__device__ inline int WholeEnd(const DecodeItem& item) {
  const DecodeLane& lane = item.lane;
  return (lane.gap_begin < lane.gap_end ? min(lane.gap_begin, item.end) : item.end) & -kBlock;
}
// Of any block. Bit r: slot + r is such a one.
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
