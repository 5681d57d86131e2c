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

// Which slots of an item the query sees.
struct LiveSlots {
  int end = 0, gap_begin = 0, gap_end = 0;

  LiveSlots() = default;
  __device__ explicit LiveSlots(const DecodeItem& item)
      : end(item.end), gap_begin(item.lane.gap_begin), gap_end(item.lane.gap_end) {}

  // Bit r: slot + r is such a one.
  __device__ uint32_t Rows(int slot) const {
    uint32_t live = kAllRows;
    if (slot + kBlock <= end && (slot >= gap_end || slot + kBlock <= gap_begin)) return live;
    if (slot + kBlock > end) live = (1u << (end - slot)) - 1;
    if (slot < gap_end && slot + kBlock > gap_begin) {
      const int first = max(gap_begin - slot, 0), last = min(gap_end - slot, kBlock);
      live &= ~(((1u << last) - 1) & ~((1u << first) - 1));
    }
    return live;
  }
};

}  // namespace headlong::cuda
