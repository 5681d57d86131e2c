// Shared memory of a CTA of the wgmma prefill kernel: where tiles are, and who may use them.
#pragma once

#include "worker/kernels/prefill_warpgroup.cuh"

namespace headlong::cuda {

inline constexpr int kGroupThreads = 128;  // of a warpgroup
inline constexpr int kComputing = 2 * kGroupThreads;
inline constexpr int kTileQueries = 128;   // rows of queries, half of them a warpgroup's
inline constexpr int kSwizzleBytes = 128;  // of a row's 64 columns

template <int kDim>
struct WgmmaLayout {
  static constexpr int kKeys = kDim <= 128 ? 128 : 64;
  static constexpr int kQueryBytes = kTileQueries * kDim * 2;
  static constexpr int kQuerySlots = kDim <= 128 ? 2 : 1;
  static constexpr int kTileBytes = kKeys * kDim * 2;
  static constexpr int kAlignment = 1024;
  static constexpr int kBytes = kQuerySlots * kQueryBytes + 4 * kTileBytes + kAlignment;
  static constexpr int kQuads = kDim / 8;  // of 16 bytes in a row
};

// Offset of 16 bytes of a row in a tile: [64 columns][rows][128 bytes, swizzled].
template <int kTileRows>
__device__ uint32_t Swizzled(int row, int quad) {
  return quad / 8 * (kTileRows * kSwizzleBytes) + row * kSwizzleBytes + ((quad ^ row) & 7) * 16;
}

// What a CTA works on, one after the other, numbered from 0: a tile of queries of a head.
struct SharedItems {
  int taken;              // between the threads that load
  int numbers[2];         // in the launch, or negative: no more
  uint64_t barriers[12];  // filled: keys 0, 1, values 0, 1, items 0, 1; emptied: the same
};

// Two slots each for keys, values and items. Tiles of keys and values are numbered over all items.
template <int kDim>
struct Slots {
  using Place = WgmmaLayout<kDim>;
  static constexpr int kSlots = 6;

  uint32_t memory, barriers;

  __device__ static int KeySlot(int tile) { return tile % 2; }
  __device__ static int ValueSlot(int tile) { return 2 + tile % 2; }
  __device__ static int ItemSlot(int item) { return 4 + item % 2; }
  // Of keys or values.
  __device__ uint32_t At(int slot) const {
    return memory + Place::kQuerySlots * Place::kQueryBytes + slot * Place::kTileBytes;
  }
  __device__ static uint32_t QueryOffset(int item) {
    return item % Place::kQuerySlots * Place::kQueryBytes;
  }
  __device__ uint32_t Filled(int slot) const { return barriers + slot * 8; }
  __device__ uint32_t Emptied(int slot) const { return barriers + (kSlots + slot) * 8; }

  __device__ void Init() const {
    for (int slot = 0; slot < kSlots; ++slot) {
      // Copies of every loading thread; of an item also its number.
      InitBarrier(Filled(slot), kGroupThreads + (slot >= 4 ? 1 : 0));
      InitBarrier(Emptied(slot), kComputing / 32);
    }
    FenceForProducts();  // the copy engine, which counts at them, sees them so
  }
  // `use`: the number of the tile or item.
  __device__ void WaitFilled(int slot, int use) const { WaitAt(Filled(slot), use / 2 % 2); }
  // Until the use before the last one, or of one slot alone the last, has ended.
  __device__ void WaitEmptied(int slot, int use) const {
    if (use >= 2) WaitAt(Emptied(slot), (use / 2 - 1) % 2);
  }
  __device__ void WaitForQuerySlot(int item) const {
    const int user = item - Place::kQuerySlots;
    if (user >= 0) WaitAt(Emptied(ItemSlot(user)), user / 2 % 2);
  }
  __device__ void SetEmptied(int slot) const {
    __syncwarp();
    if (threadIdx.x % 32 == 0) ArriveAt(Emptied(slot));
  }
};

}  // namespace headlong::cuda
