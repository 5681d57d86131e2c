// Attention of prompts' chunks for 16-bit caches, with m16n8k16, where there is no wgmma or
// head_dim is no multiple of 64; compiled once per element type (HEADLONG_ELEMENT). The query rows
// of four warps share a tile of keys and values in shared memory while the next one is loaded.
//
// Operations: 4 * head_dim per query row and visible key. Bytes: a tile of rows reads each key and
// value it sees once, mostly out of the L2.
#include "worker/kernels/code_version.h"
#include "worker/kernels/prefill_visible.cuh"
#include "worker/kernels/prefill_widen.cuh"

namespace headlong::cuda {
namespace {

using Element = HEADLONG_ELEMENT;

constexpr int kThreads = 128;

// What registers and the smallest shared memory (99 KiB to a block) have room for. Rows are padded
// by 16 bytes: the eight rows of an ldmatrix are then on different banks.
template <int kDim>
struct Layout {
  static constexpr int kRowTiles = kDim <= 128 ? 2 : 1;  // of 16 rows, to a warp
  static constexpr int kRows = kThreads / 32 * 16 * kRowTiles;
  static constexpr int kKeys = kDim < 128 ? 64 : kDim == 128 ? 32 : 16;
  static constexpr int kBlocks = kKeys / kBlockRows;
  static constexpr int kRowBytes = kDim * 2 + 16;
  static constexpr int kTileBytes = kKeys * kRowBytes;
  static constexpr int kQueryBytes = kRows * kRowBytes;
  static constexpr int kBytes = kQueryBytes + 4 * kTileBytes;
  static constexpr int kQuads = kDim / 8;  // of 16 bytes in a row
  static_assert(kBytes < 99 * 1024 && kBlocks * kBlockRows == kKeys);
  static_assert(kKeys * kQuads % kThreads == 0);
};

// Brings tiles of keys and values into two slots of shared memory.
template <int kDim, bool kPlain>
class KeyLoads {
 public:
  using Place = Layout<kDim>;

  __device__ KeyLoads(const Lane& lane, const KeyRange& range, uint32_t memory,
                      const std::byte* (&blocks)[2][Place::kBlocks])
      : lane_(lane), range_(range), memory_(memory), blocks_(blocks) {}

  // This thread's block of 16 keys of a tile, looked up long before its use.
  __device__ const std::byte* FindBlock(int tile) const {
    if (threadIdx.x >= Place::kBlocks) return nullptr;
    constexpr int kRowBytes = kPlain ? kDim * 2 : 0;
    return range_.template Block<kRowBytes>(
        lane_, tile * Place::kKeys + static_cast<int>(threadIdx.x) * kBlockRows);
  }
  __device__ void SetBlock(int tile, const std::byte* block) {
    if (threadIdx.x < Place::kBlocks) blocks_[tile % 2][threadIdx.x] = block;
  }

  __device__ void Issue(int tile) const {
    if constexpr (kPlain) {
      IssuePlain(tile);
    } else {
      IssueWidened(tile);
    }
  }
  __device__ uint32_t Keys(int tile) const { return memory_ + tile % 2 * 2 * Place::kTileBytes; }

 private:
  __device__ void IssueWidened(int tile) const {
    for (const bool value : {false, true}) {
      const uint32_t slot = Keys(tile) + (value ? Place::kTileBytes : 0);
      const auto page_of = [&](int block) { return blocks_[tile % 2][block]; };
      WidenedTile<kDim, Place::kKeys, kThreads>(lane_, range_)
          .Fill(value, tile * Place::kKeys, page_of,
                [&](int row, int quad) { return slot + row * Place::kRowBytes + quad * 16; });
    }
  }
  __device__ void IssuePlain(int tile) const {
    const uint32_t slot = Keys(tile);
#pragma unroll
    for (int i = 0; i < Place::kKeys * Place::kQuads / kThreads; ++i) {
      const int quad = i * kThreads + static_cast<int>(threadIdx.x);
      const int row = quad / Place::kQuads, column = quad % Place::kQuads * 16;
      const int key = tile * Place::kKeys + row, p = range_.Position(key);
      const bool live = range_.Live(key), fresh = p >= lane_.chunk.fresh_begin;
      const std::byte* from =
          fresh ? lane_.Fresh(false, p).codes
                : blocks_[tile % 2][row / kBlockRows] + row % kBlockRows * (kDim * 2);
      if (!live) from = lane_.pages;  // nothing is read, the row becomes zeros
      const int64_t half = fresh ? lane_.fresh_capacity * (kDim * 2) : lane_.lane_class.key_bytes;
      const uint32_t to = slot + row * Place::kRowBytes + column;
      CopyAsyncIf(live, to, from + column);
      CopyAsyncIf(live, to + Place::kTileBytes, from + (live ? half : 0) + column);
    }
  }
  const Lane& lane_;
  const KeyRange& range_;
  const uint32_t memory_;
  const std::byte* (&blocks_)[2][Place::kBlocks];
};

template <int kDim>
using Softmax = TileSoftmax<Element, kDim, Layout<kDim>::kRowTiles, Layout<kDim>::kKeys>;

// q: of this warp's rows.
template <int kDim>
__device__ void Score(uint32_t q, uint32_t keys, Softmax<kDim>& softmax) {
  using Place = Layout<kDim>;
  const int thread = threadIdx.x % 32;
#pragma unroll
  for (int t = 0; t < Place::kRowTiles; ++t) {
#pragma unroll
    for (int n = 0; n < Place::kKeys / 8; ++n) {
      for (int j = 0; j < 4; ++j) softmax.logits[t][n][j] = 0;
    }
  }
  q += thread % 16 * Place::kRowBytes + thread / 16 * 16;
  keys += (thread / 16 * 8 + thread % 8) * Place::kRowBytes + thread / 8 % 2 * 16;
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
    uint32_t a[Place::kRowTiles][4];
#pragma unroll
    for (int t = 0; t < Place::kRowTiles; ++t) {
      LoadMatrix(a[t], q + t * 16 * Place::kRowBytes + k * 32);
    }
#pragma unroll
    for (int n = 0; n < Place::kKeys / 8; n += 2) {
      uint32_t b[4];
      LoadMatrix(b, keys + n * 8 * Place::kRowBytes + k * 32);
#pragma unroll
      for (int t = 0; t < Place::kRowTiles; ++t) {
        Element::Mma(softmax.logits[t][n], a[t], {b[0], b[1]});
        Element::Mma(softmax.logits[t][n + 1], a[t], {b[2], b[3]});
      }
    }
  }
}

template <int kDim>
__device__ void AddValues(uint32_t values, Softmax<kDim>& softmax) {
  using Place = Layout<kDim>;
  values += threadIdx.x % 16 * Place::kRowBytes + threadIdx.x % 32 / 16 * 16;
#pragma unroll
  for (int k = 0; k < Place::kKeys / 16; ++k) {
    uint32_t a[Place::kRowTiles][4];
#pragma unroll
    for (int t = 0; t < Place::kRowTiles; ++t) softmax.Pack(t, k, a[t]);
#pragma unroll
    for (int n = 0; n < kDim / 8; n += 2) {
      uint32_t b[4];
      LoadTransposed(b, values + k * 16 * Place::kRowBytes + n * 16);
#pragma unroll
      for (int t = 0; t < Place::kRowTiles; ++t) {
        Element::Mma(softmax.out[t][n], a[t], {b[0], b[1]});
        Element::Mma(softmax.out[t][n + 1], a[t], {b[2], b[3]});
      }
    }
  }
}

template <int kDim>
__device__ void LoadQueries(const void* q, const Queries& queries, uint32_t to) {
  using Place = Layout<kDim>;
#pragma unroll 4
  for (int i = threadIdx.x; i < Place::kRows * Place::kQuads; i += kThreads) {
    const int row = i / Place::kQuads, column = i % Place::kQuads * 16;
    const bool live = row < queries.rows;
    const std::byte* from =
        static_cast<const std::byte*>(q) + queries.Row(live ? row : 0) * (kDim * 2) + column;
    CopyAsyncIf(live, to + row * Place::kRowBytes + column, from);
  }
}

template <int kDim, bool kPlain>
__device__ void Attend(const PrefillAttention& prefill) {
  using Place = Layout<kDim>;
  extern __shared__ __align__(16) std::byte shared[];
  __shared__ const std::byte* blocks[2][Place::kBlocks];
  const LayerLanes& lanes = prefill.lanes;
  const PrefillTile tile = prefill.tiles[blockIdx.y];
  const int head = static_cast<int>(blockIdx.x);
  const Lane lane = LaneOf(lanes, tile.chunk, head);
  if (!prefill.Takes(lane.lane_class, lane.chunk, head, kPlain)) return;
  const Queries queries = QueriesOf(lanes, lane, tile, head, Place::kRows);
  const KeyRange range(lane.chunk, queries, lanes.window);
  const auto memory = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  KeyLoads<kDim, kPlain> loads(lane, range, memory + Place::kQueryBytes, blocks);
  LoadQueries<kDim>(prefill.q, queries, memory);
  loads.SetBlock(0, loads.FindBlock(0));
  loads.SetBlock(1, loads.FindBlock(1));
  __syncthreads();
  loads.Issue(0);
  WaitForCopies();
  __syncthreads();
  Softmax<kDim> softmax(queries, prefill.scale);
  if (lane.chunk.compensates) {
    const auto pair = [&](int r, int column) {
      return *reinterpret_cast<const uint32_t*>(shared + r * Place::kRowBytes + column * 2);
    };
    BeginWithTokens(lanes, lane, head, pair, softmax);
  }
  const uint32_t q = memory + threadIdx.x / 32 * 16 * Place::kRowTiles * Place::kRowBytes;
  for (int i = 0; i * Place::kKeys < range.end; ++i) {
    WaitForCopies();
    __syncthreads();  // tile i is there, and all are done with tile i - 1
    if ((i + 1) * Place::kKeys < range.end) loads.Issue(i + 1);
    const std::byte* block = loads.FindBlock(i + 2);
    Score<kDim>(q, loads.Keys(i), softmax);
    if (i * Place::kKeys < range.full_from || (i + 1) * Place::kKeys > range.full_to) {
      Mask(range, lanes.window, i * Place::kKeys, softmax);
    }
    softmax.Weigh();
    softmax.Rescale();
    AddValues<kDim>(loads.Keys(i) + Place::kTileBytes, softmax);
    loads.SetBlock(i + 2, block);
  }
  softmax.Store(prefill.out, prefill.lse);
}

// Of the shapes that wgmma has, only what is compiled for GPUs without it is launched.
template <int kDim, bool kPlain>
__global__ void __launch_bounds__(kThreads, 2) AttendTiles(PrefillAttention prefill) {
  if constexpr (kDim % 64 == 0 && HasWarpgroupProducts(kCodeVersion)) {
    __trap();
  } else {
    Attend<kDim, kPlain>(prefill);
  }
}

template <int kDim>
PrefillKernel Kernel(bool plain) {
  PrefillKernel kernel = {AttendTiles<kDim, true>, kThreads, Layout<kDim>::kBytes,
                          Layout<kDim>::kRows};
  if constexpr (kWidens<Element>) {
    if (!plain) kernel.entry = AttendTiles<kDim, false>;
  } else {
    if (!plain) kernel.entry = nullptr;
  }
  return kernel;
}

}  // namespace

PrefillKernel HEADLONG_PREFILL_MMA(int head_dim, bool plain) {
  switch (head_dim) {
    case 64:
      return Kernel<64>(plain);
    case 80:
      return Kernel<80>(plain);
    case 96:
      return Kernel<96>(plain);
    case 128:
      return Kernel<128>(plain);
    case 256:
      return Kernel<256>(plain);
    default:
      return {};
  }
}

}  // namespace headlong::cuda
