// A block of rows in shared memory: coded ones, or ones in bf16 on a side of a lane whose other
// side is coded or whose rows are shorter than head_dim.
#pragma once

#include "cache/row_format.h"
#include "worker/kernels/decode_loads.cuh"

namespace headlong::cuda {

// 16 rows of codes, or of bf16, then their scales as a lane stores them.
template <Storage kStored, int kHeadDim>
class StoredBlock {
 public:
  static constexpr Storage kType = kStored;
  static constexpr bool kInt4 = kType == Storage::kInt4;
  static constexpr bool kPlain = kType == Storage::kBfloat16;
  static constexpr int kGroups = (kHeadDim + kCodeGroup - 1) / kCodeGroup;
  static constexpr int kNumbers = kInt4 ? kCodeGroup : kPlain ? 8 : 16;  // of a chunk
  static constexpr int kChunks = (kHeadDim + kNumbers - 1) / kNumbers;   // of 16 bytes in a row
  static constexpr int kQuads = kBlock * kChunks;
  static constexpr int kScales = kInt4 ? kGroups : kPlain ? 0 : 1;  // of a row
  using Rows = SharedRows<kChunks>;
  static constexpr int kCodeBytes = kBlock * Rows::kRowBytes;
  static constexpr int kBytes =
      (kCodeBytes + kBlock * 2 * kScales + kLineBytes - 1) / kLineBytes * kLineBytes;

  // How many chunks, and scales, a lane's row of so many numbers has.
  __device__ static int Chunks(int dims) { return (dims + kNumbers - 1) / kNumbers; }
  __device__ static int Scales(int dims) { return kInt4 ? Chunks(dims) : kScales; }
  // Of a row in a page, its scales included.
  __device__ static int PageRowBytes(int dims) { return Chunks(dims) * 16 + Scales(dims) * 2; }

  // A block in the ring, and a thread's place in it (SharedRows::CopiedFirst).
  struct Place {
    uint32_t to, first, thread;
  };
  // Of a whole block whose rows have all numbers, as a rule. page: the lane's rows in a page, of
  // every 512 bytes this thread's 16.
  __device__ static void CopyWhole(const std::byte* page, uint32_t row, int page_shift,
                                   const Place& place, uint64_t policy) {
    constexpr uint32_t kRowBytes = kChunks * 16;
    const uint32_t thread = place.thread;
    const std::byte* codes = page + row * kRowBytes;
#pragma unroll
    for (int i = 0; i < (kQuads + 31) / 32; ++i) {
      if (i * 32 + 32 <= kQuads || static_cast<int>(thread) < kQuads % 32) {
        CopyQuad(Rows::Copied(place.to, place.first, i, thread), codes + i * 512, policy);
      }
    }
    const std::byte* scales = page + ((kRowBytes << page_shift) + row * (kScales * 2));
    CopyScales(kScales, scales, place.to, thread, policy);
  }

  // Where other blocks begin.
  struct Part {
    const std::byte* page;  // the lane's rows in it
    uint32_t row;
    int page_shift, dims;
  };
  // Numbers beyond those that a row has, and rows that are not live, become zeros.
  __device__ static void CopyPart(const Part& part, uint32_t live, uint32_t to, uint64_t policy) {
    const int chunks = Chunks(part.dims), scales = Scales(part.dims), thread = threadIdx.x % 32;
    const std::byte* codes = part.page + part.row * chunks * 16;
#pragma unroll 1
    for (int index = thread; index < kQuads; index += 32) {
      const int r = index / kChunks, chunk = index % kChunks;
      CopyQuadIf((live >> r & 1) != 0 && chunk < chunks, Rows::Quad(Rows::Begin(to, r), chunk),
                 codes + (r * chunks + chunk) * 16);
    }
    const uint32_t from = (chunks * 16 << part.page_shift) + part.row * (scales * 2) + thread * 16;
    CopyScales(scales, part.page + from, to, thread, policy);
  }

 private:
  // 32 bytes are the scales of 16 rows; scales: 16 bytes a thread.
  __device__ static void CopyScales(int count, const std::byte* scales, uint32_t to,
                                    uint32_t thread, uint64_t policy) {
    if (thread < 2u * count) CopyQuad(to + kCodeBytes + thread * 16, scales, policy);
  }
};

}  // namespace headlong::cuda
