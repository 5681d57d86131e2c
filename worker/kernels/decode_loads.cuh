// How a warp of the decode kernel brings its keys and values in: 16 tokens at a time, keys and
// values apart, through a ring in shared memory that runs ahead of the arithmetic, from one item
// into the next. Each warp has a ring of its own and waits for nobody.
#pragma once

#include "worker/kernels/decode_items.cuh"

namespace headlong::cuda {

// Where the 16 tokens of a block are in the lane's memory.
struct BlockPlace {
  const DecodeLane& lane;
  int page, row;  // the first one's
  uint32_t live;  // bits as of LiveSlots
};

// What is not live becomes zeros.
__device__ inline void CopyQuad(uint32_t to, const std::byte* from, bool live, uint64_t policy) {
  asm volatile(
      "cp.async.cg.shared.global.L2::cache_hint.L2::256B [%0], [%1], 16, %2, %3;" ::"r"(to),
      "l"(from), "r"(live ? 16 : 0), "l"(policy)
      : "memory");
}

// Blocks of rows of kHeadDim 16-bit floats. Rows are padded by 16 bytes: the eight rows of an
// ldmatrix are then on different banks for every head_dim that is a multiple of 16.
template <int kHeadDim>
struct PlainBlocks {
  static constexpr int kRowBytes = kHeadDim * 2 + 16;
  static constexpr int kBytes = kBlock * kRowBytes;

  __device__ static void Copy(const BlockPlace& block, bool values, uint32_t to, uint64_t policy) {
    constexpr int kChunks = kHeadDim / 8;  // of 16 bytes in a row
    const DecodeLane& lane = block.lane;
    const int row = block.row + (values ? 1 << lane.page_shift : 0);
    const std::byte* from =
        lane.pages + block.page * lane.page_stride + int64_t{row} * (kHeadDim * 2);
#pragma unroll
    for (int i = 0; i < kBlock * kChunks / 32; ++i) {
      const int chunk = i * 32 + threadIdx.x % 32, r = chunk / kChunks;
      CopyQuad(to + chunk * 16 + r * 16, from + chunk * 16, (block.live >> r & 1) != 0, policy);
    }
  }
};

// Blocks: kBytes, at most, of a block in shared memory; Copy brings one there.
template <typename Blocks, int kSlots>
class Ring {
 public:
  static constexpr int kBytes = kDecodeWarps * kSlots * Blocks::kBytes;
  static constexpr int kAhead = kSlots - 1;

  __device__ Ring(const ItemList& items, std::byte* memory)
      : items_(items), warp_(threadIdx.x / 32) {
    const auto shared = static_cast<uint32_t>(__cvta_generic_to_shared(memory));
    begin_ = shared + warp_ * kSlots * Blocks::kBytes;
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(read_once_));
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
    const uint32_t taken = begin_ + take_ * Blocks::kBytes;
    take_ = take_ + 1 == kSlots ? 0 : take_ + 1;
    return taken;
  }

 private:
  // The first item from item_ on of which this warp has a block. What a block's load needs of it
  // stays in registers.
  __device__ void Enter() {
    for (; item_ < items_.count; ++item_) {
      const DecodeItem& item = items_[item_];
      slot_ = item.begin + warp_ * kBlock;
      if (slot_ >= item.end) continue;
      lane_ = item.lane;
      live_ = LiveSlots(item);
      return;
    }
  }
  // Of the next block, ahead of its use.
  __device__ void FindPage() {
    if (item_ < items_.count) page_ = lane_.page_ids[slot_ >> lane_.page_shift];
  }

  __device__ void Issue(bool values) {
    if (item_ < items_.count) {
      const int row = slot_ & ((1 << lane_.page_shift) - 1);
      Blocks::Copy({lane_, page_, row, live_.Rows(slot_)}, values, begin_ + issue_ * Blocks::kBytes,
                   read_once_);
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
    issue_ = issue_ + 1 == kSlots ? 0 : issue_ + 1;
  }

  const ItemList items_;
  const int warp_;
  uint32_t begin_;
  uint64_t read_once_;
  DecodeLane lane_;
  LiveSlots live_;
  int item_ = 0, slot_ = 0, page_ = 0;  // the next block to load
  int issue_ = 0, take_ = 0;            // slots of the ring
};

}  // namespace headlong::cuda
