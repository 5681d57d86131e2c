// Attention of prompts' chunks for bf16 caches with wgmma, where head_dim is a multiple of 64. One
// warpgroup brings tiles of keys and values into shared memory, two of 64 query rows each compute,
// in turns: the matrix units work for one while the other makes weights (FlashAttention-3, Shah et
// al. 2024, arXiv 2407.08608).
//
// Operations: 4 * head_dim per query row and visible key. Bytes: a tile of 128 rows reads each key
// and value it sees once, mostly out of the L2.
#include "worker/kernels/prefill_products.cuh"
#include "worker/kernels/prefill_visible.cuh"
#include "worker/kernels/prefill_widen.cuh"

namespace headlong::cuda {
namespace {

constexpr int kGroupThreads = 128;
constexpr int kComputing = 2 * kGroupThreads;
constexpr int kThreads = kComputing + kGroupThreads;
// Of a thread that loads, and of one that computes. Widening codes takes more of them.
template <bool kPlain>
constexpr int kLoadRegisters = kPlain ? 56 : 88;
template <bool kPlain>
constexpr int kComputeRegisters = kPlain ? 224 : 208;
constexpr int kRows = 128;
constexpr int kSwizzleBytes = 128;  // of a row's 64 columns

template <int kDim>
struct Layout {
  static constexpr int kKeys = kDim <= 128 ? 128 : 64;
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

// Two slots each for keys and values, and who may use them: keys in slot 0, 1, values in slot 2, 3.
template <int kDim>
struct Slots {
  using Place = Layout<kDim>;

  uint32_t memory, barriers;

  __device__ static int KeySlot(int tile) { return tile % 2; }
  __device__ static int ValueSlot(int tile) { return 2 + tile % 2; }
  __device__ uint32_t At(int slot) const { return memory + slot * Place::kTileBytes; }
  __device__ uint32_t Filled(int slot) const { return barriers + slot * 8; }
  __device__ uint32_t Emptied(int slot) const { return barriers + (4 + slot) * 8; }

  __device__ void Init() const {
    for (int slot = 0; slot < 4; ++slot) {
      InitBarrier(Filled(slot), kGroupThreads);
      InitBarrier(Emptied(slot), kComputing / 32);
    }
  }
  __device__ void WaitFilled(int slot, int tile) const { WaitAt(Filled(slot), tile / 2 % 2); }
  __device__ void WaitEmptied(int slot, int tile) const {
    if (tile >= 2) WaitAt(Emptied(slot), (tile / 2 - 1) % 2);
  }
  __device__ void SetEmptied(int slot) const {
    __syncwarp();
    if (threadIdx.x % 32 == 0) ArriveAt(Emptied(slot));
  }
};

// The loading warpgroup.
template <int kDim, bool kPlain>
class KeyLoads {
 public:
  using Place = Layout<kDim>;

  // What of the lane every tile needs stays in registers.
  __device__ KeyLoads(const Lane& lane, const KeyRange& range, const Slots<kDim>& slots)
      : lane_(lane),
        range_(range),
        slots_(slots),
        key_bytes_(lane.lane_class.key_bytes),
        fresh_keys_(lane.Fresh(false, 0).codes),
        fresh_values_(lane.Fresh(true, 0).codes) {}

  // As far ahead as there are slots.
  __device__ void Run() const {
    if constexpr (kPlain) {
      RunPlain();
    } else {
      RunWidened();
    }
  }

 private:
  struct Half {  // keys or values of a tile
    int tile, slot;
    bool value;
  };

  __device__ void RunPlain() const {
    const std::byte* block = FindBlock(0);
    for (int i = 0; i == 0 || i * Place::kKeys < range_.end; ++i) {
      const std::byte* next = FindBlock(i + 1);
      slots_.WaitEmptied(Slots<kDim>::KeySlot(i), i);
      Issue({i, Slots<kDim>::KeySlot(i), false}, block);
      slots_.WaitEmptied(Slots<kDim>::ValueSlot(i), i);
      Issue({i, Slots<kDim>::ValueSlot(i), true}, block);
      block = next;
    }
    WaitForCopies();
  }

  __device__ void RunWidened() const {
    const WidenedTile<kDim, Place::kKeys, kGroupThreads> tile(lane_, range_);
    const std::byte* block = FindBlock(0);
    for (int i = 0; i == 0 || i * Place::kKeys < range_.end; ++i) {
      const std::byte* next = FindBlock(i + 1);
      const auto page_of = [&](int b) {
        return reinterpret_cast<const std::byte*>(
            __shfl_sync(~0u, reinterpret_cast<uint64_t>(block), b));
      };
      for (const bool value : {false, true}) {
        const int slot = value ? Slots<kDim>::ValueSlot(i) : Slots<kDim>::KeySlot(i);
        slots_.WaitEmptied(slot, i);
        tile.Fill(value, i * Place::kKeys, page_of, [&](int row, int quad) {
          return slots_.At(slot) + Swizzled<Place::kKeys>(row, quad);
        });
        FenceForProducts();
        ArriveAt(slots_.Filled(slot));
      }
      block = next;
    }
  }

  // Of the warp's threads each looks up one block of 16 keys of a tile, long before its use.
  __device__ const std::byte* FindBlock(int tile) const {
    const int block = threadIdx.x % 32;
    if (block >= Place::kKeys / kBlockRows) return nullptr;
    return range_.template Block < kPlain ? kDim * 2
                                          : 0 > (lane_, tile * Place::kKeys + block * kBlockRows);
  }

  __device__ void Issue(const Half& half, const std::byte* found) const {
    constexpr int kPass = kGroupThreads / Place::kQuads;  // rows at a time
    const int first = half.tile * Place::kKeys, last = first + Place::kKeys - 1;
    const int thread = threadIdx.x % kGroupThreads, quad = thread % Place::kQuads;
    const int fresh_begin = lane_.chunk.fresh_begin, position = range_.Position(first);
    // All of it kept, and all in pages or all fresh: nothing to ask per row.
    const bool whole = first >= range_.sink_blocks && last < range_.end;
    const bool fresh = whole && position >= fresh_begin;
    const bool plain = fresh || (whole && range_.Position(last) < fresh_begin);
    const int64_t in_page = half.value ? key_bytes_ : 0;
    const std::byte* const fresh_rows = half.value ? fresh_values_ : fresh_keys_;
    const uint32_t to = slots_.At(half.slot);
#pragma unroll
    for (int block = 0; block < Place::kKeys; block += kBlockRows) {
      const auto in_pages = reinterpret_cast<const std::byte*>(
          __shfl_sync(~0u, reinterpret_cast<uint64_t>(found), block / kBlockRows));
      const std::byte* rows =
          fresh ? fresh_rows + int64_t{position + block} * (kDim * 2) : in_pages + in_page;
#pragma unroll
      for (int i = 0; i < kBlockRows; i += kPass) {
        const int row = i + thread / Place::kQuads, key = first + block + row;
        const std::byte* from = rows + row * (kDim * 2);
        bool live = true;
        if (!plain) {
          const int p = range_.Position(key);
          live = range_.Live(key);
          if (p >= fresh_begin) from = fresh_rows + int64_t{p} * (kDim * 2);
          if (!live) from = lane_.pages;  // nothing is read, the row becomes zeros
        }
        CopyAsync(to + Swizzled<Place::kKeys>(block + row, quad), from + quad * 16, live);
      }
    }
    ArriveAfterCopies(slots_.Filled(half.slot));
  }

  const Lane& lane_;
  const KeyRange& range_;
  const Slots<kDim>& slots_;
  const int64_t key_bytes_;
  const std::byte *const fresh_keys_, *const fresh_values_;
};

// One warpgroup's part of a tile.
template <int kDim>
struct GroupTile {
  using Place = Layout<kDim>;
  static constexpr int kKeys = Place::kKeys;

  TileSoftmax<kDim, 1, kKeys> softmax;
  const uint64_t q;
  uint32_t weights[kKeys / 16][4];

  __device__ GroupTile(const Queries& queries, float scale, uint32_t memory)
      : softmax(queries, scale),
        q(Operand(memory + threadIdx.x / kGroupThreads * 64 * kSwizzleBytes, 16)) {}

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

// By the computing warpgroups.
template <int kDim>
__device__ void LoadQueries(const void* q, const Queries& queries, uint32_t to) {
  using Place = Layout<kDim>;
#pragma unroll 4
  for (int i = threadIdx.x; i < kRows * Place::kQuads; i += kComputing) {
    const int row = i / Place::kQuads, quad = i % Place::kQuads;
    const bool live = row < queries.rows;
    const std::byte* from =
        static_cast<const std::byte*>(q) + queries.Row(live ? row : 0) * (kDim * 2) + quad * 16;
    CopyAsync(to + Swizzled<kRows>(row, quad), from, live);
  }
  WaitForCopies();
  FenceForProducts();
  SyncNamed(3, kComputing);
}

// One warpgroup's rows over all tiles. The two take turns in starting products: named barriers
// 1, 2.
template <int kDim>
__device__ void Compute(const Slots<kDim>& slots, const ChunkLanes& chunk, const KeyRange& range,
                        int window, GroupTile<kDim>& group) {
  using Place = Slots<kDim>;
  // At least one, of zeros that nobody sees: a split lane may hold nothing yet.
  const int tiles = max((range.end + GroupTile<kDim>::kKeys - 1) / GroupTile<kDim>::kKeys, 1);
  const int turn = threadIdx.x / kGroupThreads == 0 ? 1 : 2, other = 3 - turn;
  if (turn == 2) ArriveNamed(other, kComputing);
  slots.WaitFilled(Place::KeySlot(0), 0);
  FenceForProducts();
  group.Begin();
  group.Score(slots.At(Place::KeySlot(0)));
  WaitForProducts<0>();
  slots.SetEmptied(Place::KeySlot(0));
  group.Weigh(chunk, range, window, 0);
  group.Settle();
  for (int i = 1; i < tiles; ++i) {
    const int keys = Place::KeySlot(i), values = Place::ValueSlot(i - 1);
    slots.WaitFilled(keys, i);
    slots.WaitFilled(values, i - 1);
    FenceForProducts();
    SyncNamed(turn, kComputing);
    group.Begin();
    group.Score(slots.At(keys));
    group.AddValues(slots.At(values));
    ArriveNamed(other, kComputing);
    WaitForProducts<1>();
    slots.SetEmptied(keys);
    group.Weigh(chunk, range, window, i);
    WaitForProducts<0>();
    slots.SetEmptied(values);
    group.Settle();
  }
  if (turn == 1) SyncNamed(turn, kComputing);  // the other's last word
  slots.WaitFilled(Place::ValueSlot(tiles - 1), tiles - 1);
  FenceForProducts();
  group.Begin();
  group.AddValues(slots.At(Place::ValueSlot(tiles - 1)));
  WaitForProducts<0>();
  Pin(group.softmax.out[0]);
}

template <int kDim, bool kPlain>
__global__ void __launch_bounds__(kThreads, 1) AttendTiles(PrefillAttention prefill) {
  using Place = Layout<kDim>;
  extern __shared__ std::byte shared[];
  __shared__ uint64_t barriers[8];
  const LayerLanes& lanes = prefill.lanes;
  const PrefillTile tile = prefill.tiles[blockIdx.y];
  const Lane lane = LaneOf(lanes, tile.chunk, blockIdx.x);
  if (lane.lane_class.plain != kPlain) return;  // another launch's
  const Queries queries = QueriesOf(lanes, lane, tile, kRows);
  const KeyRange range(lane.chunk, queries, lanes.window);
  const auto unaligned = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  const uint32_t skipped = -unaligned % Place::kAlignment, memory = unaligned + skipped;
  const Slots<kDim> slots{memory + Place::kQueryBytes,
                          static_cast<uint32_t>(__cvta_generic_to_shared(barriers))};
  if (threadIdx.x == 0) slots.Init();
  __syncthreads();
  if (threadIdx.x >= kComputing) {
    GiveRegisters<kLoadRegisters<kPlain>>();
    KeyLoads<kDim, kPlain>(lane, range, slots).Run();
  } else {
    TakeRegisters<kComputeRegisters<kPlain>>();
    LoadQueries<kDim>(prefill.q, queries, memory);
    GroupTile<kDim> group(queries, prefill.scale, memory);
    if (lane.chunk.compensates) {
      const auto pair = [&](int r, int column) {
        const std::byte* at = shared + skipped + Swizzled<kRows>(r, column / 8) + column % 8 * 2;
        return *reinterpret_cast<const uint32_t*>(at);
      };
      BeginWithTokens(lanes, lane, pair, group.softmax);
    }
    Compute(slots, lane.chunk, range, lanes.window, group);
    group.softmax.Store(prefill.out, prefill.lse);
  }
}

template <int kDim>
PrefillKernel Kernel(bool plain) {
  return {plain ? AttendTiles<kDim, true> : AttendTiles<kDim, false>, kThreads,
          Layout<kDim>::kBytes, kRows};
}

}  // namespace

PrefillKernel PrefillKernelWgmma(int head_dim, bool plain) {
  switch (head_dim) {
    case 64:
      return Kernel<64>(plain);
    case 128:
      return Kernel<128>(plain);
    case 256:
      return Kernel<256>(plain);
    default:
      return {};
  }
}

}  // namespace headlong::cuda
