// How a warp of the decode kernel brings its keys and values in: 16 tokens at a time, keys and
// values apart, through a ring in shared memory that runs ahead of the arithmetic, from one item
// into the next. Each warp has a ring of its own and waits for nobody.
#pragma once

#include "worker/kernels/decode_items.cuh"
#include "worker/kernels/decode_rows.h"

namespace headlong::cuda {

// The L2's policy for what is read once: it goes first. Known to be the same in all threads, so
// that it costs no instruction (the constant is what createpolicy makes of these words).
__device__ inline uint64_t ReadOnce() {
#if __CUDA_ARCH__ >= 900
  return 0x12f0000000000000;
#else
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
#endif
}

__device__ inline void CopyQuad(uint32_t to, const std::byte* from, uint64_t policy) {
  asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
               "l"(policy)
               : "memory");
}
// What is not live becomes zeros. Of few blocks, and without a policy: with a constant one, beside
// an address that a loop moves, ptxas 13.0 makes an instruction that does not exist.
__device__ inline void CopyQuadIf(bool live, uint32_t to, const std::byte* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
               "r"(live ? 16 : 0)
               : "memory");
}

// Blocks of rows of kHeadDim 16-bit floats.
template <int kHeadDim>
class PlainBlocks {
 public:
  static constexpr int kQuads = kHeadDim / 8;  // of 16 bytes in a row
  using Rows = SharedRows<kQuads>;
  static constexpr int kBytes = kBlock * Rows::kRowBytes;

  __device__ void Enter(const DecodeLane& lane) {
    pages_ = lane.pages + threadIdx.x % 32 * 16;
    page_stride_ = lane.page_stride;
    value_bytes_ = kHeadDim * 2 << lane.page_shift;
  }
  __device__ void Find(int page, int row) {
    from_ = pages_ + page * page_stride_ + row * (kHeadDim * 2);
  }
  __device__ void Copy(bool values, uint32_t live, uint32_t to, uint64_t policy) const {
    constexpr int kCopies = kBlock * kQuads / 32;  // of a thread
    const int thread = threadIdx.x % 32;
    const std::byte* from = values ? from_ + value_bytes_ : from_;
    if (live == kAllRows) {  // as a rule
#pragma unroll
      for (int i = 0; i < kCopies; ++i) {
        CopyQuad(Rows::Copied(to, i, thread), from + i * 512, policy);
      }
      return;
    }
#pragma unroll 1
    for (int i = 0; i < kCopies; ++i) {
      const bool is_live = (live >> (i * 32 + thread) / kQuads & 1) != 0;
      CopyQuadIf(is_live, Rows::Copied(to, i, thread), from + i * 512);
    }
  }

 private:
  const std::byte* pages_;
  int64_t page_stride_;
  int value_bytes_;  // from keys of a page to its values
  const std::byte* from_;
};

// Blocks: kBytes, at most, of a block in shared memory, a multiple of kLineBytes. Enter: what
// follows is of this lane; Find: a block that begins at this row of the page; Copy: brings its keys
// or values there, rows that are not live (bits as of LiveSlots) as zeros.
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
        issue_(begin_),
        take_(begin_) {
    Enter();
    FindPage();
    for (int i = 0; i < kAhead; ++i) Issue(i % 2 == 1);
  }

  // Waits for the oldest load, starts another one and returns where the oldest is. Callers ask for
  // keys and values in turns.
  __device__ uint32_t Take(bool values) {
    asm volatile("cp.async.wait_group %0;" ::"n"(kAhead - 1) : "memory");
    __syncwarp();  // all see it, and all are done with the slot that Issue fills
    Issue(values != (kAhead % 2 == 1));
    const uint32_t taken = take_;
    take_ = After(take_);
    return taken;
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
      blocks_.Enter(item.lane);
      live_ = LiveSlots(item);
      return;
    }
  }
  // Of the next block, ahead of its use.
  __device__ void FindPage() {
    if (item_ < items_.count) page_ = page_ids_[slot_ >> page_shift_];
  }

  __device__ void Issue(bool values) {
    if (item_ < items_.count) {
      if (!values) {
        rows_ = live_.Rows(slot_);
        blocks_.Find(page_, slot_ & ((1 << page_shift_) - 1));
      }
      blocks_.Copy(values, rows_, issue_, ReadOnce());
      if (values) {
        slot_ += kDecodeTile;
        if (slot_ >= live_.end) {
          ++item_;
          Enter();
        }
        FindPage();
      }
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
    issue_ = After(issue_);
  }

  __device__ uint32_t After(uint32_t place) const {
    const uint32_t next = place + Blocks::kBytes;
    return next == begin_ + kSlots * Blocks::kBytes ? begin_ : next;
  }

  const ItemList items_;
  Blocks blocks_;
  LiveSlots live_;
  const int32_t* page_ids_ = nullptr;
  int page_shift_ = 0;
  uint32_t rows_ = 0;                   // that are live in the block whose values come next
  int item_ = 0, slot_ = 0, page_ = 0;  // the next block to load
  const uint32_t begin_;
  uint32_t issue_, take_;  // places in the ring
};

}  // namespace headlong::cuda
