// Logits of a block of 16 tokens by products of 16-bit floats: of keys in bf16 and in fp8.
#pragma once

#include "worker/kernels/decode_queries.cuh"
#include "worker/kernels/decode_stored.cuh"

namespace headlong::cuda {

// Of the rows `row` and `row + 8` and a thread's queries, in base 2.
template <int kQueries>
using Logits = float[kQueries][2];

// keys.Load(pair, a): two steps of 16 numbers each. factors: of each query.
template <int kHeadDim, int kQueries, typename Keys>
__device__ void ScoreHalves(const Keys& keys, const HalfQueries<kHeadDim, kQueries>& queries,
                            const float (&factors)[kQueries], Logits<kQueries>& logits) {
  constexpr int kSteps = kHeadDim / 16;
  float sums[kColumnTiles<kQueries>][2][4] = {};  // two chains
#pragma unroll
  for (int pair = 0; pair < (kSteps + 1) / 2; ++pair) {
    uint32_t a[2][4];
    keys.Load(pair, a);
#pragma unroll
    for (int k = 0; k < 2 && 2 * pair + k < kSteps; ++k) {
#pragma unroll
      for (int n = 0; n < kColumnTiles<kQueries>; ++n) {
        Keys::Element::Mma(sums[n][k], a[k], queries[n][2 * pair + k]);
      }
    }
  }
#pragma unroll
  for (int u = 0; u < kQueries; ++u) {
    for (int half = 0; half < 2; ++half) {
      const int i = half * 2 + u % 2;
      logits[u][half] = (sums[u / 2][0][i] + sums[u / 2][1][i]) * factors[u];
    }
  }
}

// Products of keys in bf16 and queries in bf16, or of fp8 keys, which are exact in fp16, and
// queries in fp16.
template <typename Block, int kHeadDim, int kQueries>
class HalfProducts {
 public:
  // scale: of logits, in base 2.
  __device__ void Begin(const DecodeAttention& decode, int first, float scale,
                        const MmaThread& thread) {
    constexpr StepOrder kOrder = Block::kPlain ? kMatrixOrder : kFourNeighbours;
    LoadQueries<kHeadDim, kQueries>(decode, first, thread, kOrder, queries_);
    if constexpr (Block::kPlain) {
      for (float& factor : factors_) factor = scale;
    } else {
      Divide(scale, thread);
    }
  }
  __device__ void Score(uint32_t block, const MmaThread& thread, const ScalesOf<Block>& scales,
                        Logits<kQueries>& logits) const {
    ScoreHalves<kHeadDim, kQueries>(StoredKeys<Block>{MatrixRows<Block>(block, thread)}, queries_,
                                    factors_, logits);
    for (auto& of_query : logits) {
      for (int half = 0; half < 2; ++half) of_query[half] *= scales.Of(half, 0);
    }
  }

 private:
  // Queries become fp16, each divided by a power of two.
  __device__ void Divide(float scale, const MmaThread& thread) {
#pragma unroll
    for (int n = 0; n < kColumnTiles<kQueries>; ++n) {
      uint32_t most = 0;
      for (const auto& pairs : queries_[n]) {
        for (const uint32_t pair : pairs) most = GreatestBits(most, pair);
      }
      const Divisor by(OverColumn(most));
      for (auto& pairs : queries_[n]) {
        for (uint32_t& pair : pairs) {
          const float2 two = Bfloat16Element::Unpack(pair);
          pair = Float16Element::Pack(two.x * by.inverse, two.y * by.inverse);
        }
      }
      for (int u = 2 * n; u < 2 * n + 2 && u < kQueries; ++u) {
        factors_[u] = OfQuery(by.divisor, u, thread) * scale;
      }
    }
  }

  HalfQueries<kHeadDim, kQueries> queries_;
  float factors_[kQueries];
};

}  // namespace headlong::cuda
