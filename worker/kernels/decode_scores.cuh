// Logits of a block of 16 tokens: products of keys and queries by the matrix units.
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

// Products of keys and queries in bf16.
template <typename Block, int kHeadDim, int kQueries>
class PlainProducts {
 public:
  // scale: of logits, in base 2.
  __device__ void Begin(const DecodeAttention& decode, int first, float scale,
                        const MmaThread& thread) {
    LoadQueries<kHeadDim, kQueries>(decode, first, thread, kMatrixOrder, queries_);
    for (float& factor : factors_) factor = scale;
  }
  __device__ void Score(uint32_t block, const MmaThread& thread, const NoScales& /*scales*/,
                        Logits<kQueries>& logits) const {
    ScoreHalves<kHeadDim, kQueries>(StoredKeys<Block>{MatrixRows<Block>(block, thread)}, queries_,
                                    factors_, logits);
  }

 private:
  HalfQueries<kHeadDim, kQueries> queries_;
  float factors_[kQueries];
};

// Products of fp8 keys, which are exact in fp16, and queries in fp16.
template <typename Block, int kHeadDim, int kQueries>
class HalfProducts {
 public:
  __device__ void Begin(const DecodeAttention& decode, int first, float scale,
                        const MmaThread& thread) {
    LoadQueries<kHeadDim, kQueries>(decode, first, thread, kFourNeighbours, queries_);
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
  __device__ void Score(uint32_t block, const MmaThread& thread, const BlockScales<Block>& scales,
                        Logits<kQueries>& logits) const {
    ScoreHalves<kHeadDim, kQueries>(StoredKeys<Block>{MatrixRows<Block>(block, thread)}, queries_,
                                    factors_, logits);
    for (auto& of_query : logits) {
      for (int half = 0; half < 2; ++half) of_query[half] *= scales.Of(half, 0);
    }
  }

 private:
  HalfQueries<kHeadDim, kQueries> queries_;
  float factors_[kQueries];
};

// Products of int8 and int4 keys, which need no widening, and queries as whole numbers of 15 bits,
// in two bytes: exact to 2^-14 of a query's greatest number.
template <typename Block, int kHeadDim, int kQueries>
class ByteProducts {
 public:
  __device__ void Begin(const DecodeAttention& decode, int first, float scale,
                        const MmaThread& thread) {
    const auto* rows = static_cast<const uint16_t*>(decode.q) + int64_t{first} * kHeadDim;
    const bool high = thread.row % 2 == 0;  // what this thread's column is of
#pragma unroll
    for (int u = 0; u < kQueries; ++u) {
      const int query = thread.row / 2 + 4 * u;
      uint2 numbers[kGroups * 2];  // four of 16 each
      uint32_t most = 0;
#pragma unroll
      for (int i = 0; i < kGroups * 2; ++i) {
        numbers[i] = {0, 0};
        if (query < decode.shape.group && i < kHeadDim / 16) {
          numbers[i] =
              *reinterpret_cast<const uint2*>(rows + query * kHeadDim + i * 16 + thread.column * 4);
        }
        most = GreatestBits(GreatestBits(most, numbers[i].x), numbers[i].y);
      }
      const Divisor by(OverColumn(most));
      const float units = by.inverse * kUnits;
#pragma unroll
      for (int i = 0; i < kGroups * 2; ++i) {
        queries_[u][i / 2][i % 2] =
            Bytes(numbers[i].x, units, high) | Bytes(numbers[i].y, units, high) << 16;
      }
      factors_[u] = OfQuery(by.divisor, 0, thread) * (scale / kUnits / (Block::kInt4 ? 16 : 1));
    }
  }

  __device__ void Score(uint32_t block, const MmaThread& thread, const BlockScales<Block>& scales,
                        Logits<kQueries>& logits) const {
    if constexpr (Block::kInt4) {
      ScoreNibbles(MatrixRows<Block>(block, thread), scales, logits);
    } else {
      ScoreBytes(MatrixRows<Block>(block, thread), scales, logits);
    }
  }

 private:
  static constexpr int kGroups = Block::kGroups;
  static constexpr float kUnits = 1 << 13;  // the greatest number's are in [2^13, 2^14)

  // The high or the low bytes, which have signs, of two numbers.
  __device__ static uint32_t Bytes(uint32_t pair, float units, bool high) {
    const float2 two = Bfloat16Element::Unpack(pair);
    uint32_t bytes = 0;
    for (int i = 0; i < 2; ++i) {
      const int number = __float2int_rn((i == 0 ? two.x : two.y) * units) + (high ? 128 : 0);
      bytes |= (number >> (high ? 8 : 0) & 0xff) << 8 * i;
    }
    return bytes;
  }
  // Of the products with high and low bytes.
  __device__ static float Sum(const int (&products)[4], int half) {
    return static_cast<float>(products[2 * half] * 256 + products[2 * half + 1]);
  }

  __device__ void ScoreBytes(const MatrixRows<Block>& rows, const BlockScales<Block>& scales,
                             Logits<kQueries>& logits) const {
    int products[kQueries][4] = {};
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      uint32_t a[4];
      LoadMatrix(a, rows.Pair(g));  // what pads a row meets queries of 0
#pragma unroll
      for (int u = 0; u < kQueries; ++u) MultiplyBytes(products[u], a, queries_[u][g]);
    }
#pragma unroll
    for (int u = 0; u < kQueries; ++u) {
      for (int half = 0; half < 2; ++half) {
        logits[u][half] = Sum(products[u], half) * (factors_[u] * scales.Of(half, 0));
      }
    }
  }

  // Nibbles in the high half of a byte are 16 times their number.
  __device__ void ScoreNibbles(const MatrixRows<Block>& rows, const BlockScales<Block>& scales,
                               Logits<kQueries>& logits) const {
    constexpr uint32_t kHigh = 0xf0f0f0f0;
#pragma unroll
    for (int u = 0; u < kQueries; ++u) logits[u][0] = logits[u][1] = 0;
#pragma unroll
    for (int pair = 0; pair < (kGroups + 1) / 2; ++pair) {
      uint32_t codes[4];
      LoadMatrix(codes, rows.Pair(pair));
#pragma unroll
      for (int k = 0; k < 2 && 2 * pair + k < kGroups; ++k) {
        const uint32_t low = codes[2 * k], high = codes[2 * k + 1];
        const uint32_t a[4] = {low << 4 & kHigh, high << 4 & kHigh, low & kHigh, high & kHigh};
#pragma unroll
        for (int u = 0; u < kQueries; ++u) {
          int products[4] = {};
          MultiplyBytes(products, a, queries_[u][2 * pair + k]);
          for (int half = 0; half < 2; ++half) {
            logits[u][half] += Sum(products, half) * scales.Of(half, 2 * pair + k);
          }
        }
      }
    }
#pragma unroll
    for (int u = 0; u < kQueries; ++u) {
      for (int half = 0; half < 2; ++half) logits[u][half] *= factors_[u];
    }
  }

  uint32_t queries_[kQueries][kGroups][2];
  float factors_[kQueries];
};

// For keys of a block.
template <typename Block, int kHeadDim, int kQueries>
using KeyProducts = std::conditional_t<
    Block::kPlain, PlainProducts<Block, kHeadDim, kQueries>,
    std::conditional_t<Block::kType == Storage::kFloat8, HalfProducts<Block, kHeadDim, kQueries>,
                       ByteProducts<Block, kHeadDim, kQueries>>>;

}  // namespace headlong::cuda
