// Attention of prompts' chunks for bf16 caches with wgmma, where head_dim is a multiple of 64: two
// warpgroups of 64 query rows share tiles of keys and values in shared memory. While the weights of
// one tile are made the matrix units add the values of the tile before.
//
// Operations: 4 * head_dim per query row and visible key. Bytes: a tile of 128 rows reads each key
// and value it sees once, mostly out of the L2.
#include "worker/kernels/prefill_products.cuh"
#include "worker/kernels/prefill_visible.cuh"

namespace headlong::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRows = 128;
constexpr int kSwizzleBytes = 128;  // of a row's 64 columns
constexpr int kBlockSlots = 4;      // tiles whose blocks are known

template <int kDim>
struct Layout {
  static constexpr int kKeys = kDim <= 128 ? 128 : 64;
  static constexpr int kBlocks = kKeys / kBlockRows;
  static constexpr int kQueryBytes = kRows * kDim * 2;
  static constexpr int kTileBytes = kKeys * kDim * 2;
  static constexpr int kAlignment = 1024;
  static constexpr int kBytes = kQueryBytes + 4 * kTileBytes + kAlignment;
  static constexpr int kQuads = kDim / 8;  // of 16 bytes in a row
};

// Offset of 16 bytes of a row in a tile: [64 columns][rows][128 bytes, swizzled].
template <int kTileRows>
__device__ uint32_t Swizzled(int row, int quad) {
  return quad / 8 * (kTileRows * kSwizzleBytes) + row * kSwizzleBytes + ((quad ^ row) & 7) * 16;
}

// Brings keys and values of tiles into two slots of shared memory each.
template <int kDim>
class KeyLoads {
 public:
  using Place = Layout<kDim>;
  using Blocks = const std::byte* [kBlockSlots][Place::kBlocks];

  __device__ KeyLoads(const Lane& lane, const KeyRange& range, uint32_t memory, Blocks& blocks)
      : lane_(lane), range_(range), memory_(memory), blocks_(blocks) {}

  // This thread's block of 16 keys of a tile, looked up long before its use.
  __device__ const std::byte* FindBlock(int tile) const {
    if (threadIdx.x >= Place::kBlocks) return nullptr;
    return range_.Block(lane_, tile * Place::kKeys + static_cast<int>(threadIdx.x) * kBlockRows);
  }
  __device__ void SetBlock(int tile, const std::byte* block) {
    if (threadIdx.x < Place::kBlocks) blocks_[tile % kBlockSlots][threadIdx.x] = block;
  }

  __device__ uint32_t Keys(int tile) const { return memory_ + tile % 2 * Place::kTileBytes; }
  __device__ uint32_t Values(int tile) const { return Keys(tile) + 2 * Place::kTileBytes; }

  __device__ void IssueKeys(int tile) const { Issue(tile, Keys(tile), 0, 0); }
  __device__ void IssueValues(int tile) const {
    Issue(tile, Values(tile), lane_.lane_class.half_bytes, lane_.fresh_half);
  }

 private:
  __device__ void Issue(int tile, uint32_t slot, int64_t page_half, int64_t fresh_half) const {
    const int first = tile * Place::kKeys, last = first + Place::kKeys - 1;
    // All of it kept and in pages: nothing to ask per row.
    const bool plain = first >= range_.sink_blocks && last < range_.end &&
                       range_.Position(last) < lane_.chunk.fresh_begin;
#pragma unroll
    for (int i = 0; i < Place::kKeys * Place::kQuads / kThreads; ++i) {
      const int chunk = i * kThreads + static_cast<int>(threadIdx.x);
      const int row = chunk / Place::kQuads, quad = chunk % Place::kQuads;
      const std::byte* from =
          blocks_[tile % kBlockSlots][row / kBlockRows] + row % kBlockRows * (kDim * 2) + page_half;
      bool live = true;
      if (!plain) {
        const int p = range_.Position(first + row);
        live = range_.Live(first + row);
        if (p >= lane_.chunk.fresh_begin) from = lane_.Fresh(p) + fresh_half;
        if (!live) from = lane_.pages;  // nothing is read, the row becomes zeros
      }
      CopyAsync(slot + Swizzled<Place::kKeys>(row, quad), from + quad * 16, live);
    }
  }

  const Lane& lane_;
  const KeyRange& range_;
  const uint32_t memory_;
  Blocks& blocks_;
};

// What this thread copied is there, for the matrix units too, and so is what the others copied.
__device__ void Arrive() {
  WaitForCopies();
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncthreads();
}

// One warpgroup's part of a tile.
template <int kDim>
struct GroupTile {
  using Place = Layout<kDim>;
  static constexpr int kKeys = Place::kKeys;

  TileSoftmax<kDim, 1, kKeys> softmax;
  const uint64_t q;
  uint32_t weights[kKeys / 16][4];

  __device__ GroupTile(const Queries& queries, float scale, uint32_t memory)
      : softmax(queries, scale), q(Operand(memory + threadIdx.x / 128 * 64 * kSwizzleBytes, 16)) {}

  // 16 columns further are 32 bytes, 64 columns further another array of rows; in units of 16.
  __device__ static uint64_t Step(int k, int rows) {
    return k / 4 * (rows * kSwizzleBytes / 16) + k % 4 * 2;
  }

  // What products read or write is settled; both of the next two may follow.
  __device__ void Begin() {
    Pin(softmax.logits[0]);
    Pin(softmax.out[0]);
    Pin(weights);
    BeginProducts();
  }

  __device__ void Score(uint32_t keys) {
    const uint64_t k = Operand(keys, 16);
#pragma unroll
    for (int i = 0; i < kDim / 16; ++i) {
      Product<kKeys>(softmax.logits[0][0], q + Step(i, kRows), k + Step(i, kKeys), i > 0);
    }
    CommitProducts();
  }

  __device__ void AddValues(uint32_t values) {
    constexpr int kPart = kDim < 128 ? kDim : 128;  // columns of one product
#pragma unroll
    for (int i = 0; i < kKeys / 16; ++i) {
#pragma unroll
      for (int part = 0; part < kDim / kPart; ++part) {
        const uint32_t from = values + part * (kPart / 64) * (kKeys * kSwizzleBytes);
        RegisterProduct<kPart>(softmax.out[0][part * (kPart / 8)], weights[i],
                               Operand(from, kKeys * kSwizzleBytes) + i * kSwizzleBytes);
      }
    }
    CommitProducts();
  }

  __device__ void Weigh(const ChunkLanes& chunk, const KeyRange& range, int window, int tile) {
    Pin(softmax.logits[0]);
    const int first = tile * kKeys;
    if (first < range.full_from || first + kKeys > range.full_to) {
      Mask(chunk, range, window, first, softmax);
    }
    softmax.Weigh();
  }

  // REQUIRES: no product runs.
  __device__ void Settle() {
    Pin(softmax.out[0]);
    Pin(weights);
    softmax.Rescale();
#pragma unroll
    for (int i = 0; i < kKeys / 16; ++i) softmax.Pack(0, i, weights[i]);
  }
};

template <int kDim>
__device__ void LoadQueries(const void* q, const Queries& queries, uint32_t to) {
  using Place = Layout<kDim>;
#pragma unroll 4
  for (int i = threadIdx.x; i < kRows * Place::kQuads; i += kThreads) {
    const int row = i / Place::kQuads, quad = i % Place::kQuads;
    const bool live = row < queries.rows;
    const std::byte* from =
        static_cast<const std::byte*>(q) + queries.Row(live ? row : 0) * (kDim * 2) + quad * 16;
    CopyAsync(to + Swizzled<kRows>(row, quad), from, live);
  }
}

template <int kDim>
__global__ void __launch_bounds__(kThreads, 1) AttendTiles(PrefillAttention prefill) {
  using Place = Layout<kDim>;
  extern __shared__ std::byte shared[];
  __shared__ typename KeyLoads<kDim>::Blocks blocks;
  const LayerLanes& lanes = prefill.lanes;
  const PrefillTile tile = prefill.tiles[blockIdx.y];
  const Lane lane = LaneOf(lanes, tile.chunk, blockIdx.x);
  const Queries queries = QueriesOf(lanes, lane, tile, kRows);
  const KeyRange range(lane.chunk, queries, lanes.window);
  const auto unaligned = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  const uint32_t skipped = -unaligned % Place::kAlignment, memory = unaligned + skipped;
  KeyLoads<kDim> loads(lane, range, memory + Place::kQueryBytes, blocks);
  LoadQueries<kDim>(prefill.q, queries, memory);
  loads.SetBlock(0, loads.FindBlock(0));
  loads.SetBlock(1, loads.FindBlock(1));
  __syncthreads();
  loads.IssueKeys(0);
  Arrive();
  GroupTile<kDim> group(queries, prefill.scale, memory);
  if (lane.chunk.compensates) {
    const auto pair = [&](int r, int column) {
      const std::byte* at = shared + skipped + Swizzled<kRows>(r, column / 8) + column % 8 * 2;
      return *reinterpret_cast<const uint32_t*>(at);
    };
    BeginWithTokens(lanes, lane.chunk, pair, group.softmax);
  }
  const int tiles = (range.end + Place::kKeys - 1) / Place::kKeys;
  if (tiles > 1) loads.IssueKeys(1);
  loads.IssueValues(0);
  loads.SetBlock(2, loads.FindBlock(2));
  group.Begin();
  group.Score(loads.Keys(0));
  WaitForProducts<0>();
  group.Weigh(lane.chunk, range, lanes.window, 0);
  group.Settle();
  for (int i = 1; i < tiles; ++i) {
    Arrive();  // keys of tile i, values of tile i - 1; all are done with those before
    if (i + 1 < tiles) loads.IssueKeys(i + 1);
    loads.IssueValues(i);
    const std::byte* block = loads.FindBlock(i + 2);
    group.Begin();
    group.Score(loads.Keys(i));
    group.AddValues(loads.Values(i - 1));
    WaitForProducts<1>();
    group.Weigh(lane.chunk, range, lanes.window, i);
    WaitForProducts<0>();
    group.Settle();
    loads.SetBlock(i + 2, block);
  }
  Arrive();
  group.Begin();
  group.AddValues(loads.Values(tiles - 1));
  WaitForProducts<0>();
  Pin(group.softmax.out[0]);
  group.softmax.Store(prefill.out);
}

template <int kDim>
PrefillKernel Kernel() {
  return {AttendTiles<kDim>, kThreads, Layout<kDim>::kBytes, kRows};
}

}  // namespace

PrefillKernel PrefillKernelWgmma(int head_dim) {
  switch (head_dim) {
    case 64:
      return Kernel<64>();
    case 128:
      return Kernel<128>();
    case 256:
      return Kernel<256>();
    default:
      return {};
  }
}

}  // namespace headlong::cuda
