// The scales of a block's rows, as the threads of a product have them.
#pragma once

#include "worker/kernels/decode_stored_block.cuh"
#include "worker/kernels/decode_widen.cuh"

namespace headlong::cuda {

// The place of a thread in the operands and results of m16n8k16 and m16n8k32.
struct MmaThread {
  int thread;
  int row;     // and row + 8: rows of a result; also a column of the second operand
  int column;  // twice that and the next one: columns of a result

  __device__ MmaThread() : thread(ThreadOfWarp()), row(thread / 4), column(thread % 4) {}
};

// 8-byte loads for two words, 16-byte loads for four; from: a multiple of that.
template <int kWords>
__device__ void LoadWords(uint32_t from, uint32_t (&words)[kWords]) {
  if constexpr (kWords == 1) {
    asm volatile("ld.shared.b32 %0, [%1];" : "=r"(words[0]) : "r"(from) : "memory");
  } else if constexpr (kWords == 2) {
    asm volatile("ld.shared.v2.b32 {%0, %1}, [%2];"
                 : "=r"(words[0]), "=r"(words[1])
                 : "r"(from)
                 : "memory");
  } else {
    static_assert(kWords == 4);
    asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(from)
                 : "memory");
  }
}
__device__ inline uint32_t LoadHalf(uint32_t from) {
  uint16_t half;
  asm volatile("ld.shared.u16 %0, [%1];" : "=h"(half) : "r"(from) : "memory");
  return half;
}

// Of logs of scales. Plain rows have this one, too: they need no place in fp16, and would take it
// from coded rows whose scales are small.
inline constexpr float kLeastLog = -60, kLeastScale = 0x1p-60f;

// Scales of the rows `row` and `row + 8` of a block. Those of rows that are not live may be
// anything.
template <typename Block>
struct BlockScales {
  static constexpr bool kByGroup = Block::kInt4;
  static constexpr bool kByRow = !Block::kInt4;

  float of[2][Block::kScales];  // [row, row + 8][group, or 0]

  // count: of a lane's row; the other groups have 0.
  __device__ BlockScales(uint32_t block, int count, const MmaThread& thread) {
    if (Block::kScales % 2 == 0 && count == Block::kScales) {  // as a rule
      const uint32_t from = block + Block::kCodeBytes + thread.row * (Block::kScales * 2);
      for (int half = 0; half < 2; ++half) {
        uint32_t pairs[(Block::kScales + 1) / 2];
        LoadWords(from + half * 16 * Block::kScales, pairs);
#pragma unroll
        for (int i = 0; i < Block::kScales / 2; ++i) {
          of[half][2 * i] = __uint_as_float(pairs[i] << 16);
          of[half][2 * i + 1] = __uint_as_float(pairs[i] & 0xffff0000u);
        }
      }
      return;
    }
    const uint32_t from = block + Block::kCodeBytes + thread.row * count * 2;
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int i = 0; i < Block::kScales; ++i) {
        const bool there = kByRow || i < count;
        of[half][i] = there ? __uint_as_float(LoadHalf(from + half * 16 * count + i * 2) << 16) : 0;
      }
    }
  }
  __device__ float Of(int half, int group) const { return of[half][kByGroup ? group : 0]; }
  // log2 of the greatest one of a row, at least kLeastLog.
  __device__ float Log(int half) const {
    float most = kLeastScale;
    for (const float scale : of[half]) most = fmaxf(most, scale);
    return Log2(most);
  }
  __device__ void Clear(int half) {
    for (float& scale : of[half]) scale = 0;
  }
};

// Of plain rows.
struct NoScales {
  static constexpr bool kByGroup = false;
  NoScales() = default;
  __device__ NoScales(uint32_t /*block*/, int /*count*/, const MmaThread& /*thread*/) {}
  __device__ float Of(int /*half*/, int /*group*/) const { return 1; }
  __device__ float Log(int /*half*/) const { return kLeastLog; }
  __device__ void Clear(int /*half*/) {}
};

template <typename Block>
using ScalesOf = std::conditional_t<Block::kPlain, NoScales, BlockScales<Block>>;

}  // namespace headlong::cuda
