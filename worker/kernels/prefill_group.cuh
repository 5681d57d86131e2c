// What a computing warpgroup of prefill_wgmma.cu holds: 64 query rows, their softmax and sums, and
// the products over a tile of keys that make them.
#pragma once

#include "worker/kernels/prefill_products.cuh"
#include "worker/kernels/prefill_slots.cuh"
#include "worker/kernels/prefill_visible.cuh"

namespace headlong::cuda {

// One warpgroup's part of a tile.
template <typename Element, int kDim>
struct GroupTile {
  using Place = WgmmaLayout<kDim>;
  static constexpr int kKeys = Place::kKeys;

  TileSoftmax<Element, kDim, 1, kKeys> softmax;
  const uint32_t q, keys, values;  // operands; the latter of the first slots
  uint32_t weights[kKeys / 16][4];

  // query_offset: of the item's queries, in the slots' memory.
  __device__ GroupTile(const Queries& queries, float scale, const Slots<kDim>& slots,
                       int query_offset)
      : softmax(queries, scale),
        q(Operand(
            slots.memory + query_offset + Uniform(threadIdx.x / kGroupThreads) * 64 * kSwizzleBytes,
            16)),
        keys(Operand(slots.At(slots.KeySlot(0)), 16)),
        values(Operand(slots.At(slots.ValueSlot(0)), kKeys * kSwizzleBytes)) {}

  // 16 columns further are 32 bytes, 64 columns further another array of rows; in units of 16.
  __device__ static uint32_t Step(int k, int rows) {
    return k / 4 * (rows * kSwizzleBytes / 16) + k % 4 * 2;
  }

  // What products read or write is settled; both of the next two may follow.
  __device__ void Begin() {
    Pin(softmax.logits[0]);
    Pin(softmax.out[0]);
    Pin(weights);
    BeginProducts();
  }

  // Tiles by their numbers: little is left to compute between a turn's begin and the products.
  __device__ static uint32_t InSlot(int tile) { return tile % 2 * (Place::kTileBytes / 16); }

  __device__ void Score(int tile) {
    const uint32_t k = keys + InSlot(tile);
#pragma unroll
    for (int i = 0; i < kDim / 16; ++i) {
      Product<Element, kKeys>(softmax.logits[0][0], q + Step(i, kTileQueries), k + Step(i, kKeys),
                              i > 0);
    }
    CommitProducts();
  }

  __device__ void AddValues(int tile) {
    constexpr int kPart = kDim < 128 ? kDim : 128;  // columns of one product
    const uint32_t v = values + InSlot(tile);
#pragma unroll
    for (int i = 0; i < kKeys / 16; ++i) {
#pragma unroll
      for (int part = 0; part < kDim / kPart; ++part) {
        const int further = part * (kPart / 64) * kKeys + i * 16;  // rows
        RegisterProduct<Element, kPart>(softmax.out[0][part * (kPart / 8)], weights[i],
                                        v + further * (kSwizzleBytes / 16));
      }
    }
    CommitProducts();
  }

  __device__ void Weigh(const KeyRange& range, int window, int tile) {
    Pin(softmax.logits[0]);
    const int first = tile * kKeys;
    if (first < range.full_from || first + kKeys > range.full_to) {
      Mask(range, window, first, softmax);
    }
    softmax.Weigh();
    Pin(softmax.logits[0]);
    // Never so. ptxas knows of nothing that a wait for products depends on, and would move the one
    // that follows to before the weights, which are to be made meanwhile; not over a store.
    if (softmax.sum[0][0] + softmax.sum[0][1] < 0) KeepBefore(softmax.sum[0][0]);
  }

  // REQUIRES: no product runs.
  __device__ void Settle() {
    Pin(softmax.out[0]);
    Pin(weights);
    softmax.Rescale();
#pragma unroll
    for (int i = 0; i < kKeys / 16; ++i) softmax.Pack(0, i, weights[i]);
  }
};

// The number of tiles of keys: at least one, of zeros that nobody sees, since a split lane may hold
// nothing yet.
template <int kDim>
__device__ int TilesOf(const KeyRange& range) {
  constexpr int kKeys = WgmmaLayout<kDim>::kKeys;
  return max((range.end + kKeys - 1) / kKeys, 1);
}

}  // namespace headlong::cuda
