// Logits of a block of 16 tokens by products of bytes: of keys in int8 and int4.
#pragma once

#include "worker/kernels/decode_half_scores.cuh"

namespace headlong::cuda {

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
    const MatrixRows<Block> rows(block, thread);
    if constexpr (Block::kInt4) ScoreNibbles(rows, scales, logits);
    if constexpr (!Block::kInt4) ScoreBytes(rows, scales, logits);
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

}  // namespace headlong::cuda
