// How the prefill kernels of bf16 caches bring in a tile of keys or values that are not plain:
// codes become bf16 numbers on their way to shared memory, code times scale rounded once. For what
// LaunchWiden has not widened before.
#pragma once

#include "worker/kernels/prefill_keys.cuh"
#include "worker/kernels/row_codes.cuh"
#include "worker/kernels/row_widen.cuh"

namespace headlong::cuda {

// Eight numbers of a row as they are stored, on their way.
template <Storage kType>
struct EightCodes {
  uint2 codes = {0, 0};
  uint32_t scale = 0;

  __device__ void Load(ConstRow row, int quad) {
    constexpr bool kInt4 = kType == Storage::kInt4;
    const int at = kInt4 ? quad / 4 * 16 + quad % 2 * 8 : quad * 8;
    codes = *reinterpret_cast<const uint2*>(row.codes + at);
    scale = reinterpret_cast<const uint16_t*>(row.scales)[kInt4 ? quad / 4 : 0];
  }
  __device__ uint4 Widen(int quad, uint32_t pair128) const {
    const uint32_t scales = scale | scale << 16;
    const int shift = kType == Storage::kInt4 && quad % 4 >= 2 ? 4 : 0;
    uint32_t pairs[4];
    // Bytes 0, 2, 1, 3: neighbours share a pair.
    WidenBytes<kType>(__byte_perm(codes.x >> shift, 0, 0x3120), pair128, pairs[0], pairs[1]);
    WidenBytes<kType>(__byte_perm(codes.y >> shift, 0, 0x3120), pair128, pairs[2], pairs[3]);
    for (uint32_t& pair : pairs) pair = MultiplyPairs(pair, scales);
    return {pairs[0], pairs[1], pairs[2], pairs[3]};
  }
};
template <>
struct EightCodes<Storage::kBfloat16> {
  uint4 numbers = {0, 0, 0, 0};

  __device__ void Load(ConstRow row, int quad) {
    numbers = reinterpret_cast<const uint4*>(row.codes)[quad];
  }
  __device__ uint4 Widen(int /*quad*/, uint32_t /*pair128*/) const { return numbers; }
};

// A tile's keys or values, by all of kThreads. page_of(b): the page of the tile's keys from 16 b
// on, asked by whole warps; target(row, quad): where 16 bytes of the tile go.
template <int kDim, int kKeys, int kThreads>
class WidenedTile {
 public:
  __device__ WidenedTile(const Lane& lane, const KeyRange& range) : lane_(lane), range_(range) {}
  template <typename PageOf, typename Target>
  __device__ void Fill(bool value, int first, PageOf page_of, Target target) const {
    WithType(lane_.Rows(value).type, [&](auto type) {
      if constexpr (decltype(type)::value != Storage::kFloat32) {
        FillOf<decltype(type)::value>(value, first, page_of, target);
      }
    });
    if (lane_.IsSink(range_.Position(first))) FillSinks(value, first, target);
  }

 private:
  static constexpr int kQuads = kDim / 8;  // of 16 bytes in a row
  static constexpr int kCount = kKeys * kQuads / kThreads;

  template <Storage kType, typename PageOf, typename Target>
  __device__ void FillOf(bool value, int first, PageOf page_of, Target target) const {
    constexpr int kBatch = kType == Storage::kBfloat16 ? 4 : 8;  // loads on the way at once
    const DeviceRows rows = lane_.Rows(value);
    const int page_tokens = 1 << lane_.lane_class.page_shift;
    const int64_t skipped = value ? lane_.lane_class.key_bytes : 0;
    const int thread = threadIdx.x % kThreads;
    const uint32_t pair128 = Pair128();
#pragma unroll 1
    for (int begin = 0; begin < kCount; begin += kBatch) {
      EightCodes<kType> eight[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        if (begin + i >= kCount) break;
        const int index = (begin + i) * kThreads + thread;
        const int row = index / kQuads, quad = index % kQuads, p = range_.Position(first + row);
        const std::byte* page = page_of(row / kBlockRows);
        if (!range_.Live(first + row) || quad * 8 >= rows.dims || lane_.IsSink(p)) continue;
        eight[i].Load(p >= lane_.chunk.fresh_begin
                          ? ConstRow(lane_.Fresh(value, p))
                          : RowAt(page + skipped, rows, page_tokens, p & (page_tokens - 1)),
                      quad);
      }
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        if (begin + i >= kCount) break;
        const int index = (begin + i) * kThreads + thread, quad = index % kQuads;
        StoreShared(target(index / kQuads, quad), eight[i].Widen(quad, pair128));
      }
    }
  }

  // Plain rows of first tokens, each 16 bytes over the zeros that the same thread wrote.
  template <typename Target>
  __device__ void FillSinks(bool value, int first, Target target) const {
    const int dims = lane_.Rows(value).dims;
#pragma unroll 1
    for (int i = 0; i < kCount; ++i) {
      const int index = i * kThreads + threadIdx.x % kThreads;
      const int row = index / kQuads, quad = index % kQuads, p = range_.Position(first + row);
      if (!lane_.IsSink(p) || !range_.Live(first + row) || quad * 8 >= dims) continue;
      const std::byte* from =
          p >= lane_.chunk.fresh_begin ? lane_.FreshSink(value, p) : lane_.Sink(value, p);
      StoreShared(target(row, quad), reinterpret_cast<const uint4*>(from)[quad]);
    }
  }

  const Lane& lane_;
  const KeyRange& range_;
};

}  // namespace headlong::cuda
