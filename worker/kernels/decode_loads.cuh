// How a warp of the decode kernel brings its keys and values in: 16 tokens at a time, keys and
// values apart, through a ring in shared memory that runs ahead of the arithmetic, from one item
// into the next. Each warp has a ring of its own and waits for nobody.
#pragma once

#include "worker/kernels/decode_copies.cuh"
#include "worker/kernels/decode_items.cuh"
#include "worker/kernels/decode_rows.h"

namespace headlong::cuda {

// Blocks: kBytes, at most, of a block in shared memory, a multiple of kLineBytes. Enter: what
// follows is of this lane; returns whether its rows have all numbers. Find: a block that begins at
// this row of the page; CopyWhole: brings its keys or values there; CopyPart: the same, rows that
// are not live (bits as of LiveRows) and numbers that the lane has not as zeros.
template <typename Blocks, int kSlots>
class Ring {
 public:
  static_assert(Blocks::kBytes % kLineBytes == 0);
  static constexpr int kBytes = kDecodeWarps * kSlots * Blocks::kBytes;
  static constexpr int kAhead = kSlots - 1;

  // memory: kBytes of shared memory, a multiple of kLineBytes.
  __device__ Ring(const ItemList& items, uint32_t memory)
      : items_(items),
        begin_(memory + threadIdx.x / 32 * kSlots * Blocks::kBytes),
        take_(begin_),
        free_(begin_ + kAhead * Blocks::kBytes) {
    Enter();
    FindPage();
    for (int i = 0; i < kAhead; ++i) Issue(i % 2 == 1, begin_ + i * Blocks::kBytes);
  }

  // Waits for the oldest load, starts another one and returns where the oldest is. Callers ask for
  // keys and values in turns.
  __device__ uint32_t Take(bool values) {
    asm volatile("cp.async.wait_group %0;" ::"n"(kAhead - 1) : "memory");
    __syncwarp();  // all see it, and all are done with the slot that Issue fills
    Issue(values != (kAhead % 2 == 1), free_);
    free_ = take_;
    take_ += Blocks::kBytes;
    if (take_ == begin_ + kSlots * Blocks::kBytes) take_ = begin_;
    return free_;
  }

 private:
  // The first item from item_ on of which this warp has a block. What a block's load needs of it
  // stays in registers.
  __device__ void Enter() {
    for (; item_ < items_.count; ++item_) {
      const DecodeItem& item = items_[item_];
      slot_ = item.begin + static_cast<int>(threadIdx.x) / 32 * kBlock;
      if (slot_ >= item.end) continue;
      page_ids_ = item.lane.page_ids;
      page_shift_ = item.lane.page_shift;
      end_ = item.end;
      whole_ = blocks_.Enter(item.lane) ? WholeBlocks(item) : WholeBlocks();
      return;
    }
  }
  // Of the next block, ahead of its use.
  __device__ void FindPage() {
    if (item_ < items_.count) page_ = page_ids_[slot_ >> page_shift_];
  }

  __device__ void Issue(bool values, uint32_t to) {
    if (item_ < items_.count) {
      if (!values) blocks_.Find(page_, slot_ & ((1 << page_shift_) - 1));
      if (whole_.Has(slot_)) {  // as a rule
        blocks_.CopyWhole(values, to, ReadOnce());
      } else {
        const DecodeItem& item = items_[item_];
        blocks_.CopyPart(item.lane, values, LiveRows(item, slot_), to, ReadOnce());
      }
      if (values) {
        slot_ += kDecodeTile;
        if (slot_ >= end_) {
          ++item_;
          Enter();
        }
        FindPage();
      }
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
  }

  const ItemList items_;
  Blocks blocks_;
  int end_ = 0;
  WholeBlocks whole_;  // that are copied whole
  const int32_t* page_ids_ = nullptr;
  int page_shift_ = 0;
  int item_ = 0, slot_ = 0, page_ = 0;  // the next block to load
  const uint32_t begin_;
  uint32_t take_, free_;  // places in the ring: the next one, the one before it
};

}  // namespace headlong::cuda
