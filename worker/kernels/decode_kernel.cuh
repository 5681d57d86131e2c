// What the decode kernels have in common: a CTA's way through its items, and the choice of a kernel
// by head_dim.
#pragma once

#include "worker/kernels/decode_room.cuh"

namespace headlong::cuda {

// Softmax: one warp's softmax over its tokens of an item, with Begin(decode, item), Score(keys,
// live), Add(values) and End(states, group); keys and values: where the ring has 16 of them.
template <typename Place, typename Softmax>
__device__ void AttendItems(const DecodeAttention& decode) {
  extern __shared__ __align__(kLineBytes) std::byte shared[];
  LetMergeBegin(decode);
  const int first = decode.cta_items[blockIdx.x];
  const ItemList items{reinterpret_cast<DecodeItem*>(shared), decode.items + first,
                       decode.cta_items[blockIdx.x + 1] - first};
  StageItems(items, shared);
  WaitForStream();  // the lists came before the step's first kernel
  __syncthreads();
  std::byte* memory = shared + Place::kItemBytes;
  const typename Place::States states{reinterpret_cast<float*>(memory)};
  memory += Place::kStateBytes;
  Ring<typename Softmax::Blocks, Place::kSlots> ring(
      items, static_cast<uint32_t>(__cvta_generic_to_shared(memory)));
  Softmax softmax;
  for (int i = 0; i < items.count; ++i) {
    const DecodeItem& item = items[i];
    softmax.Begin(decode, item);
    const int end = item.end;
    const WholeBlocks whole(item);
    for (int slot = item.begin + threadIdx.x / 32 * kBlock; slot < end; slot += kDecodeTile) {
      softmax.Score(ring.Take(false), whole.Has(slot) ? kAllRows : LiveRows(item, slot));
      softmax.Add(ring.Take(true));
    }
    softmax.End(states, decode.shape.group);
    __syncthreads();
    StoreStates(decode, item, states);
    __syncthreads();
  }
}

// kernel_of(std::integral_constant<int, head_dim>): of the head_dims that kernels are built for.
template <typename KernelOf>
DecodeKernel KernelOfHeadDim(int head_dim, KernelOf kernel_of) {
  switch (head_dim) {
    case 64:
      return kernel_of(std::integral_constant<int, 64>());
    case 80:
      return kernel_of(std::integral_constant<int, 80>());
    case 96:
      return kernel_of(std::integral_constant<int, 96>());
    case 128:
      return kernel_of(std::integral_constant<int, 128>());
    case 256:
      return kernel_of(std::integral_constant<int, 256>());
    default:
      return {};
  }
}

}  // namespace headlong::cuda
