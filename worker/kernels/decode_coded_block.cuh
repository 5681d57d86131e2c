// A block of coded rows in shared memory.
#pragma once

#include "cache/row_format.h"
#include "worker/kernels/decode_loads.cuh"

namespace headlong::cuda {

// 16 rows of codes, then their scales as a lane stores them.
template <Storage kStored, int kHeadDim>
class CodedBlock {
 public:
  static constexpr Storage kType = kStored;
  static constexpr bool kInt4 = kType == Storage::kInt4;
  static constexpr int kGroups = (kHeadDim + kCodeGroup - 1) / kCodeGroup;
  static constexpr int kChunks = kInt4 ? kGroups : kHeadDim / 16;  // of 16 bytes in a row
  static constexpr int kQuads = kBlock * kChunks;
  static constexpr int kScales = kInt4 ? kGroups : 1;  // of a row
  using Rows = SharedRows<kChunks>;
  static constexpr int kCodeBytes = kBlock * Rows::kRowBytes;
  static constexpr int kBytes =
      (kCodeBytes + kBlock * 2 * kScales + kLineBytes - 1) / kLineBytes * kLineBytes;

  // How many chunks, and scales, a lane's row of so many numbers has.
  __device__ static int Chunks(int dims) {
    return kInt4 ? (dims + kCodeGroup - 1) / kCodeGroup : dims / 16;
  }
  __device__ static int Scales(int dims) { return kInt4 ? Chunks(dims) : 1; }
  // Of a row in a page, its scales included.
  __device__ static int PageRowBytes(int dims) { return Chunks(dims) * 16 + Scales(dims) * 2; }

  // Of a whole block whose rows have all numbers, as a rule. codes, scales: of its first row,
  // 16 bytes a thread.
  __device__ static void CopyWhole(const std::byte* codes, const std::byte* scales, uint32_t to,
                                   uint64_t policy) {
    const int thread = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < kQuads / 32; ++i) {
      CopyQuad(Rows::Copied(to, i, thread), codes + i * 512, policy);
    }
    if (constexpr int i = kQuads / 32; kQuads % 32 != 0 && thread < kQuads % 32) {
      CopyQuad(Rows::Copied(to, i, thread), codes + i * 512, policy);
    }
    CopyScales(kScales, scales, to, policy);
  }
  // Of other blocks; codes and scales as they begin. Numbers beyond `dims`, and rows that are not
  // live, become zeros.
  __device__ static void CopyPart(const std::byte* codes, const std::byte* scales, int dims,
                                  uint32_t live, uint32_t to, uint64_t policy) {
    const int chunks = Chunks(dims);
#pragma unroll 1
    for (int index = threadIdx.x % 32; index < kQuads; index += 32) {
      const int r = index / kChunks, chunk = index % kChunks;
      CopyQuadIf((live >> r & 1) != 0 && chunk < chunks, Rows::Quad(Rows::Begin(to, r), chunk),
                 codes + (r * chunks + chunk) * 16);
    }
    CopyScales(Scales(dims), scales + threadIdx.x % 32 * 16, to, policy);
  }

 private:
  // 32 bytes are the scales of 16 rows; scales: 16 bytes a thread.
  __device__ static void CopyScales(int count, const std::byte* scales, uint32_t to,
                                    uint64_t policy) {
    const int thread = threadIdx.x % 32;
    if (thread < 2 * count) {
      CopyQuad(to + kCodeBytes + thread * 16, scales, policy);
    }
  }
};

}  // namespace headlong::cuda
