// Attention of prompts' chunks for bf16 caches, with m16n8k16: four warps of 32 query rows (16 for
// head_dim 256) share a tile of keys and values in shared memory while the next one is loaded.
//
// Operations: 4 * head_dim per query row and visible key. Bytes: a tile of 128 rows reads each key
// and value it sees once, mostly out of the L2.
#include "worker/kernels/append_lane.cuh"
#include "worker/kernels/decode_element.cuh"
#include "worker/kernels/decode_state.cuh"
#include "worker/kernels/prefill_cuda.h"

namespace headlong::cuda {
namespace {

using Element = Bfloat16Element;

constexpr int kThreads = 128;

// Rows are padded by 16 bytes: the eight rows of an ldmatrix are then on different banks.
template <int kDim>
struct Layout {
  static constexpr int kRowTiles = kDim <= 128 ? 2 : 1;  // of 16 rows, to a warp
  static constexpr int kRows = kThreads / 32 * 16 * kRowTiles;
  static constexpr int kKeys = kDim <= 128 ? 64 : 32;
  static constexpr int kBlocks = kKeys / kBlockRows;
  static constexpr int kCtas = 2;  // on a multiprocessor
  static constexpr int kRowBytes = kDim * 2 + 16;
  static constexpr int kTileBytes = kKeys * kRowBytes;
  static constexpr int kQueryBytes = kRows * kRowBytes;
  static constexpr int kBytes = kQueryBytes + 4 * kTileBytes;
  static constexpr int kQuads = kDim / 8;  // of 16 bytes in a row
};

__device__ void CopyAsync(uint32_t to, const void* from, bool live) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
               "r"(live ? 16 : 0)
               : "memory");
}

__device__ float Exp2(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// The keys that some row of a tile sees, in tiles: those with sinks, then those of the window.
template <int kKeys>
struct KeyRange {
  int sink_end, window_begin, end, sink_tiles, tiles;

  __device__ KeyRange(const ChunkLanes& chunk, int first, int last, int model_window) {
    const int lo = WindowBegin(chunk, first);
    const bool gap = lo > chunk.sinks;
    const int bound = model_window > 0 ? first + 1 - model_window : 0;
    sink_end = gap ? chunk.sinks : 0;
    window_begin = max(gap ? lo : 0, bound) / kBlockRows * kBlockRows;
    end = last + 1;
    sink_tiles = (sink_end + kKeys - 1) / kKeys;
    tiles = sink_tiles + (end - window_begin + kKeys - 1) / kKeys;
  }
  __device__ int Begin(int tile) const {
    return tile < sink_tiles ? tile * kKeys : window_begin + (tile - sink_tiles) * kKeys;
  }
  __device__ int Limit(int tile) const { return tile < sink_tiles ? sink_end : end; }
};

// Brings tiles of keys and values into two slots of shared memory.
template <int kDim>
class KeyLoads {
 public:
  using Place = Layout<kDim>;

  __device__ KeyLoads(const Lane& lane, const KeyRange<Place::kKeys>& range, uint32_t memory,
                      const std::byte* (&blocks)[2][Place::kBlocks])
      : lane_(lane), range_(range), memory_(memory), blocks_(blocks) {}

  // Where this thread's block of 16 keys of a tile is, if it is in a page; looked up long before.
  __device__ const std::byte* FindBlock(int tile) const {
    if (threadIdx.x >= Place::kBlocks || tile >= range_.tiles) return nullptr;
    const int p = range_.Begin(tile) + static_cast<int>(threadIdx.x) * kBlockRows;
    if (p >= min(range_.Limit(tile), lane_.chunk.fresh_begin)) return nullptr;
    return lane_.InPage(lane_.chunk.read, p);
  }
  __device__ void SetBlock(int tile, const std::byte* block) {
    if (threadIdx.x < Place::kBlocks) blocks_[tile % 2][threadIdx.x] = block;
  }

  __device__ void Issue(int tile) const {
    const int begin = range_.Begin(tile), limit = range_.Limit(tile);
    const uint32_t slot = memory_ + tile % 2 * 2 * Place::kTileBytes;
#pragma unroll
    for (int i = 0; i < Place::kKeys * Place::kQuads / kThreads; ++i) {
      const int quad = i * kThreads + static_cast<int>(threadIdx.x);
      const int row = quad / Place::kQuads, column = quad % Place::kQuads * 16;
      const int p = begin + row;
      const bool live = p < limit, fresh = p >= lane_.chunk.fresh_begin;
      const std::byte* from =
          fresh ? lane_.Fresh(p)
                : blocks_[tile % 2][row / kBlockRows] + row % kBlockRows * (kDim * 2);
      if (!live) from = lane_.pages;  // nothing is read, the row becomes zeros
      const int64_t half = fresh ? lane_.fresh_half : lane_.lane_class.half_bytes;
      const uint32_t to = slot + row * Place::kRowBytes + column;
      CopyAsync(to, from + column, live);
      CopyAsync(to + Place::kTileBytes, from + (live ? half : 0) + column, live);
    }
  }
  __device__ uint32_t Keys(int tile) const { return memory_ + tile % 2 * 2 * Place::kTileBytes; }

 private:
  const Lane& lane_;
  const KeyRange<Place::kKeys>& range_;
  const uint32_t memory_;
  const std::byte* (&blocks_)[2][Place::kBlocks];
};

// A tile's queries: rows of (position, query head).
struct Queries {
  int first;  // position of row 0
  int rows;   // valid ones
  int group;
  int64_t row;     // of q and out: where row 0 is
  int64_t stride;  // rows of q and out from a position to the next

  __device__ int Position(int r) const { return first + min(r, rows - 1) / group; }
  __device__ int64_t Row(int r) const { return row + r / group * stride + r % group; }
};

// One warp's softmax. As the MMA lays it out, a thread holds rows `row` and `row + 8` of each of
// its row tiles, and of every eight columns `pair` and `pair + 1`.
template <int kDim>
class WarpTile {
 public:
  using Place = Layout<kDim>;

  __device__ WarpTile(const Queries& queries, uint32_t q, float scale)
      : queries_(queries),
        row_(threadIdx.x / 32 * 16 * Place::kRowTiles + threadIdx.x % 32 / 4),
        pair_(threadIdx.x % 4 * 2),
        thread_(threadIdx.x % 32),
        q_(q + (threadIdx.x / 32 * 16 * Place::kRowTiles + threadIdx.x % 16) * Place::kRowBytes +
           threadIdx.x % 32 / 16 * 16),
        scale_(scale * kLog2e) {
#pragma unroll
    for (int t = 0; t < Place::kRowTiles; ++t) {
      for (int h = 0; h < 2; ++h) {
        peak_[t][h] = kMinusInfinity;
        sum_[t][h] = 0;
      }
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        for (int j = 0; j < 4; ++j) out_[t][n][j] = 0;
      }
    }
  }

  // The compensation token of each row: peak = its logit, sum = 1, out = its value.
  __device__ void BeginWithTokens(const LayerLanes& lanes, const ChunkLanes& chunk,
                                  const std::byte* q) {
#pragma unroll
    for (int t = 0; t < Place::kRowTiles; ++t) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int r = row_ + t * 16 + h * 8;
        const int lo = WindowBegin(chunk, queries_.Position(r)), dropped = lo - chunk.sinks;
        if (dropped <= 0) continue;  // the same for the four threads of a row
        const int blocks = lo / kBlockRows - chunk.fold_begin / kBlockRows;
        const float* key = TokenOf(lanes, chunk, blockIdx.x, blocks);
        const float inverse = 1.0f / dropped;
        float dot = 0;
#pragma unroll
        for (int n = 0; n < kDim / 8; ++n) {
          const float2 x = Element::Unpack(
              *reinterpret_cast<const uint32_t*>(q + r * Place::kRowBytes + (n * 8 + pair_) * 2));
          const float2 k = *reinterpret_cast<const float2*>(key + n * 8 + pair_);
          const float2 v = *reinterpret_cast<const float2*>(key + kDim + n * 8 + pair_);
          dot += x.x * k.x + x.y * k.y;
          out_[t][n][h * 2] = v.x * inverse;
          out_[t][n][h * 2 + 1] = v.y * inverse;
        }
        const unsigned row_threads = 0xfu << (thread_ & ~3);
        dot += __shfl_xor_sync(row_threads, dot, 1);
        dot += __shfl_xor_sync(row_threads, dot, 2);
        peak_[t][h] = dot * inverse * scale_ + log2f(static_cast<float>(dropped));
        sum_[t][h] = pair_ == 0 ? 1 : 0;  // added up over the row's threads at the end
      }
    }
  }

  __device__ void Score(uint32_t keys) {
#pragma unroll
    for (int t = 0; t < Place::kRowTiles; ++t) {
#pragma unroll
      for (int n = 0; n < kColumns; ++n) {
        for (int j = 0; j < 4; ++j) logits_[t][n][j] = 0;
      }
    }
    const uint32_t from =
        keys + (thread_ / 16 * 8 + thread_ % 8) * Place::kRowBytes + thread_ / 8 % 2 * 16;
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
      uint32_t a[Place::kRowTiles][4];
#pragma unroll
      for (int t = 0; t < Place::kRowTiles; ++t) {
        LoadMatrix(a[t], q_ + t * 16 * Place::kRowBytes + k * 32);
      }
#pragma unroll
      for (int n = 0; n < kColumns; n += 2) {
        uint32_t b[4];
        LoadMatrix(b, from + n * 8 * Place::kRowBytes + k * 32);
#pragma unroll
        for (int t = 0; t < Place::kRowTiles; ++t) {
          Element::Mma(logits_[t][n], a[t], {b[0], b[1]});
          Element::Mma(logits_[t][n + 1], a[t], {b[2], b[3]});
        }
      }
    }
  }

  // Hides keys from `begin` on that a row does not see, and those at or beyond `limit`.
  __device__ void Mask(const ChunkLanes& chunk, int model_window, int begin, int limit) {
#pragma unroll
    for (int t = 0; t < Place::kRowTiles; ++t) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int m = queries_.Position(row_ + t * 16 + h * 8), end = min(m + 1, limit);
        const int lo = WindowBegin(chunk, m);
        const int bound = model_window > 0 ? m + 1 - model_window : 0;
#pragma unroll
        for (int n = 0; n < kColumns; ++n) {
          for (int j = 0; j < 2; ++j) {
            const int p = begin + n * 8 + pair_ + j;
            const bool sees = p < end && p >= bound && (p < chunk.sinks || p >= lo);
            if (!sees) logits_[t][n][h * 2 + j] = kMinusInfinity;
          }
        }
      }
    }
  }

  // Logits become weights; what was added before is rescaled to the new peaks.
  __device__ void Weigh() {
    float rescale[Place::kRowTiles][2];
    bool moved = false;
#pragma unroll
    for (int t = 0; t < Place::kRowTiles; ++t) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float most = kMinusInfinity;
#pragma unroll
        for (int n = 0; n < kColumns; ++n) {
          most = fmaxf(most, fmaxf(logits_[t][n][h * 2], logits_[t][n][h * 2 + 1]));
        }
        most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
        most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
        const float peak = fmaxf(peak_[t][h], most * scale_);
        const float finite_peak = peak == kMinusInfinity ? 0 : peak;
        rescale[t][h] = Exp2(peak_[t][h] - finite_peak);
        moved = moved || rescale[t][h] != 1;
        peak_[t][h] = peak;
        float sum = 0;
#pragma unroll
        for (int n = 0; n < kColumns; ++n) {
          for (int j = 0; j < 2; ++j) {
            float& x = logits_[t][n][h * 2 + j];
            x = Exp2(x * scale_ - finite_peak);
            sum += x;
          }
        }
        sum_[t][h] = sum_[t][h] * rescale[t][h] + sum;
      }
    }
    if (!__any_sync(~0u, moved)) return;
#pragma unroll
    for (int t = 0; t < Place::kRowTiles; ++t) {
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        for (int j = 0; j < 4; ++j) out_[t][n][j] *= rescale[t][j / 2];
      }
    }
  }

  __device__ void Add(uint32_t values) {
    const uint32_t from = values + thread_ % 16 * Place::kRowBytes + thread_ / 16 * 16;
#pragma unroll
    for (int k = 0; k < kColumns / 2; ++k) {
      uint32_t a[Place::kRowTiles][4];
#pragma unroll
      for (int t = 0; t < Place::kRowTiles; ++t) {
        for (int i = 0; i < 4; ++i) {
          const float(&pair)[4] = logits_[t][2 * k + i / 2];
          a[t][i] = Element::Pack(pair[i % 2 * 2], pair[i % 2 * 2 + 1]);
        }
      }
#pragma unroll
      for (int n = 0; n < kDim / 8; n += 2) {
        uint32_t b[4];
        LoadTransposed(b, from + k * 16 * Place::kRowBytes + n * 16);
#pragma unroll
        for (int t = 0; t < Place::kRowTiles; ++t) {
          Element::Mma(out_[t][n], a[t], {b[0], b[1]});
          Element::Mma(out_[t][n + 1], a[t], {b[2], b[3]});
        }
      }
    }
  }

  __device__ void Store(float* out) const {
#pragma unroll
    for (int t = 0; t < Place::kRowTiles; ++t) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float sum = sum_[t][h];
        sum += __shfl_xor_sync(~0u, sum, 1);
        sum += __shfl_xor_sync(~0u, sum, 2);
        const int r = row_ + t * 16 + h * 8;
        if (r >= queries_.rows) continue;
        const float inverse = sum == 0 ? 0 : 1 / sum;  // no key at all: zeros
        float* to = out + queries_.Row(r) * kDim + pair_;
#pragma unroll
        for (int n = 0; n < kDim / 8; ++n) {
          *reinterpret_cast<float2*>(to + n * 8) = {out_[t][n][h * 2] * inverse,
                                                    out_[t][n][h * 2 + 1] * inverse};
        }
      }
    }
  }

 private:
  static constexpr int kColumns = Place::kKeys / 8;

  const Queries& queries_;
  const int row_, pair_, thread_;
  const uint32_t q_;
  const float scale_;
  float logits_[Place::kRowTiles][kColumns][4];
  float peak_[Place::kRowTiles][2], sum_[Place::kRowTiles][2];  // peaks in base 2
  float out_[Place::kRowTiles][kDim / 8][4];
};

template <int kDim>
__device__ void LoadQueries(const void* q, const Queries& queries, uint32_t to) {
  using Place = Layout<kDim>;
#pragma unroll 4
  for (int i = threadIdx.x; i < Place::kRows * Place::kQuads; i += kThreads) {
    const int row = i / Place::kQuads, column = i % Place::kQuads * 16;
    const bool live = row < queries.rows;
    const std::byte* from =
        static_cast<const std::byte*>(q) + queries.Row(live ? row : 0) * (kDim * 2) + column;
    CopyAsync(to + row * Place::kRowBytes + column, from, live);
  }
}

template <int kDim>
__global__ void __launch_bounds__(kThreads, Layout<kDim>::kCtas)
    AttendTiles(PrefillAttention prefill) {
  using Place = Layout<kDim>;
  extern __shared__ __align__(16) std::byte shared[];
  __shared__ const std::byte* blocks[2][Place::kBlocks];
  const LayerLanes& lanes = prefill.lanes;
  const PrefillTile tile = prefill.tiles[blockIdx.y];
  const Lane lane = LaneOf(lanes, tile.chunk, blockIdx.x);
  const ChunkLanes& chunk = lane.chunk;
  const int group = lanes.shape.group, first = chunk.position + tile.first;
  const int positions = min(Place::kRows / group, chunk.end - first);
  const int64_t stride = int64_t{lanes.heads} * group;
  const Queries queries{first, positions * group, group,
                        (chunk.first_row + tile.first) * stride + blockIdx.x * group, stride};
  const int last = first + positions - 1;
  const KeyRange<Place::kKeys> range(chunk, first, last, lanes.window);
  const auto memory = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  KeyLoads<kDim> loads(lane, range, memory + Place::kQueryBytes, blocks);
  LoadQueries<kDim>(prefill.q, queries, memory);
  loads.SetBlock(0, loads.FindBlock(0));
  loads.SetBlock(1, loads.FindBlock(1));
  __syncthreads();
  loads.Issue(0);
  asm volatile("cp.async.wait_all;" ::: "memory");
  __syncthreads();
  WarpTile<kDim> softmax(queries, memory, prefill.scale);
  if (chunk.compensates) softmax.BeginWithTokens(lanes, chunk, shared);
  // From here on every row sees a key: in full tiles before its own position, behind the last lo.
  const int last_lo = max(WindowBegin(chunk, last), lanes.window > 0 ? last + 1 - lanes.window : 0);
  for (int i = 0; i < range.tiles; ++i) {
    asm volatile("cp.async.wait_all;" ::: "memory");
    __syncthreads();  // tile i is there, and all are done with tile i - 1
    if (i + 1 < range.tiles) loads.Issue(i + 1);
    const std::byte* block = loads.FindBlock(i + 2);
    softmax.Score(loads.Keys(i));
    const int begin = range.Begin(i), limit = range.Limit(i);
    if (begin < last_lo || begin + Place::kKeys > min(first + 1, limit)) {
      softmax.Mask(chunk, lanes.window, begin, limit);
    }
    softmax.Weigh();
    softmax.Add(loads.Keys(i) + Place::kTileBytes);
    loads.SetBlock(i + 2, block);
  }
  softmax.Store(prefill.out);
}

template <int kDim>
PrefillKernel Kernel() {
  return {AttendTiles<kDim>, kThreads, Layout<kDim>::kBytes, Layout<kDim>::kRows};
}

}  // namespace

PrefillKernel PrefillKernelBfloat16(int head_dim) {
  switch (head_dim) {
    case 64:
      return Kernel<64>();
    case 80:
      return Kernel<80>();
    case 96:
      return Kernel<96>();
    case 128:
      return Kernel<128>();
    case 256:
      return Kernel<256>();
    default:
      return {};
  }
}

}  // namespace headlong::cuda
