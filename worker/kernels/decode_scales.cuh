// What a thread of the decode kernels of coded rows reads of a block in shared memory, and the
// scales of its rows.
#pragma once

#include "worker/kernels/decode_element.cuh"
#include "worker/kernels/decode_widen.cuh"

namespace headlong::cuda {

__device__ inline uint32_t LoadWord(uint32_t from) {
  uint32_t word;
  asm volatile("ld.shared.b32 %0, [%1];" : "=r"(word) : "r"(from) : "memory");
  return word;
}
// 8-byte loads for two words, 16-byte loads for four; from: a multiple of that.
template <int kWords>
__device__ void LoadWords(uint32_t from, uint32_t (&words)[kWords]) {
  if constexpr (kWords == 2) {
    asm volatile("ld.shared.v2.b32 {%0, %1}, [%2];"
                 : "=r"(words[0]), "=r"(words[1])
                 : "r"(from)
                 : "memory");
  } else if constexpr (kWords == 4) {
    asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(from)
                 : "memory");
  } else {
    for (int i = 0; i < kWords; ++i) words[i] = LoadWord(from + i * 4);
  }
}
__device__ inline uint32_t LoadHalf(uint32_t from) {
  uint16_t half;
  asm volatile("ld.shared.u16 %0, [%1];" : "=h"(half) : "r"(from) : "memory");
  return half;
}

// The place of a thread in the operands and results of m16n8k16.
struct MmaThread {
  int row;                      // and row + 8
  int pair;                     // and pair + 1: columns
  int four;                     // of each 16 numbers of a key these four are its own
  bool live[2] = {true, true};  // whether rows `row` and `row + 8` of the block in hand are
  WidenConstants constants;

  __device__ MmaThread()
      : row(threadIdx.x % 32 / 4), pair(threadIdx.x % 4 * 2), four(threadIdx.x % 4 * 4) {}
};

// Of logs of scales. Plain rows have this one, too: they need no place in fp16, and would take it
// from coded rows whose scales are small.
inline constexpr float kLeastLog = -60, kLeastScale = 0x1p-60f;

// Scales of the rows `row` and `row + 8` of a block; 0 of rows that are not live, whose scales may
// be anything, and of groups that the lane has not.
template <typename Block>
struct BlockScales {
  static constexpr bool kByGroup = Block::kInt4;
  static constexpr bool kByRow = !Block::kInt4;
  using Element = Float16Element;  // of the rows as operands

  float of[2][Block::kScales];  // [row, row + 8][group, or 0]

  __device__ BlockScales(uint32_t block, int dims, const MmaThread& thread) {
    const int count = Block::Scales(dims);
    const uint32_t from = block + Block::kCodeBytes + thread.row * count * 2;
    if (Block::kScales % 2 == 0 && count == Block::kScales) {  // as a rule
      for (int half = 0; half < 2; ++half) {
        uint32_t pairs[(Block::kScales + 1) / 2];
        LoadWords(from + half * 16 * Block::kScales, pairs);
#pragma unroll
        for (int i = 0; i < Block::kScales / 2; ++i) {
          const uint32_t two = thread.live[half] ? pairs[i] : 0;
          of[half][2 * i] = __uint_as_float(two << 16);
          of[half][2 * i + 1] = __uint_as_float(two & 0xffff0000u);
        }
      }
      return;
    }
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int i = 0; i < Block::kScales; ++i) {
        const bool there = i < count && thread.live[half];
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
};

}  // namespace headlong::cuda
