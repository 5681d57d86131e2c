// Attention of prompts' chunks for 16-bit caches with wgmma, where head_dim is a multiple of 64;
// compiled once per element type (HEADLONG_ELEMENT). One warpgroup brings tiles of keys and values
// into shared memory, two of 64 query rows each compute, in turns: the matrix units work for one
// while the other makes weights (FlashAttention-3, Shah et al. 2024, arXiv 2407.08608).
//
// Operations: 4 * head_dim per query row and visible key. Bytes: a tile of 128 rows reads each key
// and value it sees once, mostly out of the L2.
#include "worker/kernels/prefill_copy_engine.cuh"
#include "worker/kernels/prefill_group.cuh"
#include "worker/kernels/prefill_row_loads.cuh"
#include "worker/kernels/prefill_visible.cuh"
#include "worker/kernels/prefill_widen.cuh"

namespace headlong::cuda {
namespace {

using Element = HEADLONG_ELEMENT;
template <int kDim>
using Group = GroupTile<Element, kDim>;

constexpr int kThreads = kComputing + kGroupThreads;
[[maybe_unused]] constexpr int kLoadingBarrier =
    3;  // named; 1 and 2 are the computing groups' turns
[[maybe_unused]] constexpr int kNoMore = -1;
// Of a thread that loads, and of one that computes. Widening codes takes more of them.
template <bool kPlain>
constexpr int kLoadRegisters = kPlain ? 72 : 88;
template <bool kPlain>
constexpr int kComputeRegisters = kPlain ? 216 : 208;

// A tile of queries of a head, by its number in the launch: heads first, so that the tiles with
// most work of all heads begin together.
struct Item {
  PrefillTile tile;
  int head;

  __device__ Item(const PrefillAttention& prefill, int number)
      : tile(prefill.tiles[number / prefill.lanes.heads]), head(number % prefill.lanes.heads) {}
};

// Queries of an item, zeros behind the last.
template <int kDim>
__device__ void LoadQueries(const void* q, const Queries& queries, uint32_t to) {
  constexpr int kQuads = WgmmaLayout<kDim>::kQuads;
#pragma unroll 4
  for (int i = LoadingThread(); i < kTileQueries * kQuads; i += kGroupThreads) {
    const int row = i / kQuads, quad = i % kQuads;
    const bool live = row < queries.rows;
    const std::byte* from =
        static_cast<const std::byte*>(q) + queries.Row(live ? row : 0) * (kDim * 2) + quad * 16;
    CopyAsyncIf(live, to + Swizzled<kTileQueries>(row, quad), from);
  }
}

struct TileCopy {
  uint32_t to, filled;
  int pages;  // in thread b of a warp, that of the tile's keys from 16 b on
  int row;    // of the step's, of its first key
};

// A tile of plain keys or values, by the copy engine; one thread asks for all. Every warp arrives
// for itself: one that came late to a slot could else be passed by two uses of it, and take the
// third one's phase for its own.
template <int kDim>
__device__ void CopyTile(const Lane& lane, const BulkKeys& bulk, bool value, TileCopy copy) {
  using Place = WgmmaLayout<kDim>;
  constexpr int kRows = 1 << KeyRange::kPageShift;
  const bool asks = LoadingThread() == 0;
  if (asks) ExpectBytes(copy.filled, Place::kTileBytes);
  __syncwarp();
  if (threadIdx.x % 32 == 0) ArriveFor(copy.filled, 32);
#pragma unroll
  for (int rows = 0; rows < Place::kKeys; rows += kRows) {
    const int page = __shfl_sync(~0u, copy.pages, rows / kBlockRows);
    if (!asks) continue;
    const int half = value ? 1 : 0;
    const BoxPlace from = bulk.pages ? BoxPlace{0, 0, lane.number * 2 + half, page}
                                     : BoxPlace{0, copy.row + rows, half, lane.fresh_head};
#pragma unroll
    for (int columns = 0; columns < kDim; columns += 64) {
      CopyBox(copy.to + (columns / 64 * Place::kKeys + rows) * kSwizzleBytes, bulk.map,
              {columns, from.row, from.half, from.last}, copy.filled);
    }
  }
}

// What is loaded in which order: slots are given back in it. Keys of tile 0, 1, values of 0, keys
// of 2, values of 1, ...
struct LoadStep {
  int tile;
  bool value;

  __device__ LoadStep(int step, int tiles)
      : tile((step + 1) / 2), value(step > 0 && step % 2 == 0) {
    if (tile == tiles) value = true;  // there are no more keys
    if (value) --tile;
  }
};

// Keys and values of plain rows. begin: the number of the first tile.
template <int kDim>
__device__ void LoadPlain(const Lane& lane, const KeyRange& range, const Slots<kDim>& slots,
                          int begin, int tiles) {
  constexpr int kKeys = WgmmaLayout<kDim>::kKeys;
  const RowLoads<kDim> rows(lane, range);
  const PageFinder finder(lane, range);
  const BulkKeys bulk = range.Bulk(lane);
  if (bulk.map != nullptr && LoadingThread() == 0) AcquireMap(bulk.map);
  const auto fresh_first = static_cast<int>(lane.fresh_first);
  // Of the warp's threads each looks up the page of 16 keys of a tile, long before its use.
  const auto find = [&](int tile) {
    const int block = threadIdx.x % 32;
    return block < RowLoads<kDim>::kBlocks ? finder.Find(tile * kKeys + block * kBlockRows) : 0;
  };
  int keys_pages = find(0), next_pages = find(1), loaded_pages = keys_pages;
  int values_pages = keys_pages;
#pragma unroll 1
  for (int step = 0; step < 2 * tiles; ++step) {
    const auto [tile, value] = LoadStep(step, tiles);
    const int number = begin + tile, first = tile * kKeys;
    const int pages = value ? values_pages : keys_pages;
    const int slot = value ? slots.ValueSlot(number) : slots.KeySlot(number);
    slots.WaitEmptied(slot, number);
    if (bulk.Has(first, kKeys)) {
      const int row = fresh_first + first + range.shift;
      CopyTile<kDim>(lane, bulk, value, {slots.At(slot), slots.Filled(slot), pages, row});
    } else {
      rows.Copy(first, value, slots.At(slot), pages);
      ArriveAfterCopies(slots.Filled(slot));
    }
    if (value) {
      values_pages = loaded_pages;
      continue;
    }
    loaded_pages = keys_pages;
    keys_pages = next_pages;
    next_pages = find(tile + 2);
  }
}

// Keys and values of other rows: as bf16.
template <int kDim>
__device__ void LoadWidened(const Lane& lane, const KeyRange& range, const Slots<kDim>& slots,
                            int begin, int tiles) {
  constexpr int kKeys = WgmmaLayout<kDim>::kKeys;
  const WidenedTile<kDim, kKeys, kGroupThreads> rows(lane, range);
  // Of the warp's threads each looks up one block of 16 keys of a tile, long before its use.
  const auto find = [&](int tile) -> const std::byte* {
    const int block = threadIdx.x % 32;
    if (block >= kKeys / kBlockRows) return nullptr;
    return range.template Block<0>(lane, tile * kKeys + block * kBlockRows);
  };
  const std::byte* block = find(0);
  for (int i = 0; i < tiles; ++i) {
    const std::byte* next = find(i + 1);
    const auto page_of = [&](int b) {
      return reinterpret_cast<const std::byte*>(
          __shfl_sync(~0u, reinterpret_cast<uint64_t>(block), b));
    };
    for (const bool value : {false, true}) {
      const int number = begin + i;
      const int slot = value ? slots.ValueSlot(number) : slots.KeySlot(number);
      slots.WaitEmptied(slot, number);
      rows.Fill(value, i * kKeys, page_of,
                [&](int row, int quad) { return slots.At(slot) + Swizzled<kKeys>(row, quad); });
      FenceForProducts();
      ArriveAt(slots.Filled(slot));
    }
    block = next;
  }
}

// Where a computing warpgroup is in what its block works on.
struct Progress {
  int item = 0;          // how many before it
  int tiles_before = 0;  // of keys, of all of those
};

// The loading warpgroup: takes items and brings in what they need.
template <int kDim, bool kPlain>
__device__ void Load(const PrefillAttention& prefill, const Slots<kDim>& slots,
                     SharedItems& shared) {
  const LayerLanes& lanes = prefill.lanes;
  const int count = prefill.tile_count * lanes.heads;
  const bool first = LoadingThread() == 0;
  int taken = first ? atomicAdd(prefill.work, 1) : 0;
  int published = 0, tiles_before = 0;
  const auto publish = [&](int number) {
    if (first) {
      shared.numbers[published % 2] = number;
      ArriveAt(slots.Filled(slots.ItemSlot(published)));
    }
    ArriveAfterCopies(slots.Filled(slots.ItemSlot(published)));
    ++published;
  };
  while (true) {
    if (first) shared.taken = taken;
    SyncNamed(kLoadingBarrier, kGroupThreads);
    const int number = shared.taken;
    SyncNamed(kLoadingBarrier, kGroupThreads);
    if (number >= count) break;
    if (first) taken = atomicAdd(prefill.work, 1);  // long before its use
    const Item item(prefill, number);
    const Lane lane = LaneOf(lanes, item.tile.chunk, item.head);
    if (!prefill.Takes(lane.lane_class, lane.chunk, item.head, kPlain)) continue;
    const Queries queries = QueriesOf(lanes, lane, item.tile, item.head, kTileQueries);
    const KeyRange range(lane.chunk, queries, lanes.window);
    slots.WaitForQuerySlot(published);
    LoadQueries<kDim>(prefill.q, queries, slots.memory + slots.QueryOffset(published));
    publish(number);
    const int tiles = TilesOf<kDim>(range);
    if constexpr (kPlain) {
      LoadPlain(lane, range, slots, tiles_before, tiles);
    } else {
      LoadWidened(lane, range, slots, tiles_before, tiles);
    }
    tiles_before += tiles;
  }
  slots.WaitForQuerySlot(published);
  publish(kNoMore);
  WaitForCopies();
  // The last block leaves the numbers as it found them.
  if (!first) return;
  __threadfence();
  if (atomicAdd(prefill.work + 1, 1) != static_cast<int>(gridDim.x) - 1) return;
  prefill.work[0] = prefill.work[1] = 0;
}

struct Walk {
  const KeyRange& range;
  BulkKeys bulk;
  int window;  // of the model
};

// One warpgroup's rows over all tiles of keys. The two take turns in starting products: named
// barriers 1, 2.
template <int kDim>
__device__ void Compute(const Slots<kDim>& slots, const Walk& walk, const Progress& progress,
                        Group<kDim>& group) {
  using Place = Slots<kDim>;
  const auto& [range, bulk, window] = walk;
  constexpr int kKeys = Group<kDim>::kKeys;
  const int begin = progress.tiles_before, end = begin + TilesOf<kDim>(range);
  const int turn = Uniform(threadIdx.x / kGroupThreads) == 0 ? 1 : 2, other = 3 - turn;
  if (turn == 2) ArriveNamed(other, kComputing);
  slots.WaitFilled(Place::KeySlot(begin), begin);
  FenceForProducts();
  group.Begin();
  group.Score(begin);
  WaitForProducts<0>();
  slots.SetEmptied(Place::KeySlot(begin));
  group.Weigh(range, window, 0);
  group.Settle();
  for (int i = begin + 1; i < end; ++i) {
    const int keys = Place::KeySlot(i), values = Place::ValueSlot(i - 1);
    slots.WaitFilled(keys, i);
    slots.WaitFilled(values, i - 1);
    // What the copy engine has brought needs none.
    if (!bulk.Has((i - begin - 1) * kKeys, 2 * kKeys)) FenceForProducts();
    SyncNamed(turn, kComputing);
    group.Begin();
    group.Score(i);
    group.AddValues(i - 1);
    ArriveNamed(other, kComputing);
    WaitForProducts<1>();
    slots.SetEmptied(keys);
    group.Weigh(range, window, i - begin);
    WaitForProducts<0>();
    slots.SetEmptied(values);
    group.Settle();
  }
  slots.SetEmptied(Place::ItemSlot(progress.item));
  if (turn == 1) SyncNamed(turn, kComputing);  // the other's last word
  const int values = Place::ValueSlot(end - 1);
  slots.WaitFilled(values, end - 1);
  FenceForProducts();
  group.Begin();
  group.AddValues(end - 1);
  WaitForProducts<0>();
  Pin(group.softmax.out[0]);
  slots.SetEmptied(values);
}

// The computing warpgroups. memory: where slots.memory is.
template <int kDim>
__device__ void Work(const PrefillAttention& prefill, const Slots<kDim>& slots,
                     const SharedItems& shared, const std::byte* memory) {
  const LayerLanes& lanes = prefill.lanes;
  Progress progress;
  for (;; ++progress.item) {
    slots.WaitFilled(slots.ItemSlot(progress.item), progress.item);
    FenceForProducts();
    const int number = shared.numbers[progress.item % 2];
    if (number == kNoMore) return;
    const Item item(prefill, number);
    const Lane lane = LaneOf(lanes, item.tile.chunk, item.head);
    const Queries queries = QueriesOf(lanes, lane, item.tile, item.head, kTileQueries);
    const KeyRange range(lane.chunk, queries, lanes.window);
    const int offset = slots.QueryOffset(progress.item);
    Group<kDim> group(queries, prefill.scale, slots, offset);
    if (lane.chunk.compensates) {
      const auto pair = [&](int r, int column) {
        const std::byte* at =
            memory + offset + Swizzled<kTileQueries>(r, column / 8) + column % 8 * 2;
        return *reinterpret_cast<const uint32_t*>(at);
      };
      BeginWithTokens(lanes, lane, item.head, pair, group.softmax);
    }
    Compute(slots, {range, range.Bulk(lane), lanes.window}, progress, group);
    group.softmax.Store(prefill.out, prefill.lse);
    progress.tiles_before += TilesOf<kDim>(range);
  }
}

template <int kDim, bool kPlain>
__global__ void __launch_bounds__(kThreads, 1) AttendTiles(PrefillAttention prefill) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ std::byte unaligned[];
  __shared__ SharedItems shared;
  const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(unaligned));
  const uint32_t skipped = -at % WgmmaLayout<kDim>::kAlignment;
  const auto barriers = static_cast<uint32_t>(__cvta_generic_to_shared(shared.barriers));
  const Slots<kDim> slots{Uniform(at + skipped), Uniform(barriers)};
  if (threadIdx.x == 0) slots.Init();
  __syncthreads();
  if (threadIdx.x >= kComputing) {
    GiveRegisters<kLoadRegisters<kPlain>>();
    Load<kDim, kPlain>(prefill, slots, shared);
  } else {
    TakeRegisters<kComputeRegisters<kPlain>>();
    Work<kDim>(prefill, slots, shared, unaligned + skipped);
  }
#else
  __trap();  // nobody launches it: see HasWarpgroupProducts
#endif
}

template <int kDim>
PrefillKernel Kernel(bool plain) {
  PrefillKernel kernel = {AttendTiles<kDim, true>, kThreads, WgmmaLayout<kDim>::kBytes,
                          kTileQueries, true};
  if constexpr (kWidens<Element>) {
    if (!plain) kernel.entry = AttendTiles<kDim, false>;
  } else {
    if (!plain) kernel.entry = nullptr;
  }
  return kernel;
}

}  // namespace

PrefillKernel HEADLONG_PREFILL_WGMMA(int head_dim, bool plain) {
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
