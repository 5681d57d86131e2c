// Logits of a block of 16 tokens: products of keys and queries by the matrix units.
#pragma once

#include "worker/kernels/decode_byte_scores.cuh"
#include "worker/kernels/decode_half_scores.cuh"

namespace headlong::cuda {

// For keys of a block.
template <typename Block, int kHeadDim, int kQueries>
using KeyProducts = std::conditional_t<Block::kPlain || Block::kType == Storage::kFloat8,
                                       HalfProducts<Block, kHeadDim, kQueries>,
                                       ByteProducts<Block, kHeadDim, kQueries>>;

}  // namespace headlong::cuda
