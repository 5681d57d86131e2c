// Weights are the A of mma.m16n8k16 and the rows of x its eight columns, so that one kernel serves
// 1 to 8 rows. A block of threads makes 16 outputs at a time, a tile; its warps share out the
// inputs and add up in shared memory.
//
// The order of the inputs within a product is free as long as A and B agree: a thread takes eight
// inputs in a row of 16 bytes, for its two rows of weights and its row of x, and feeds them to two
// mma. So every load is 16 bytes wide, 64 contiguous bytes per row and warp. Weights come through
// shared memory, each thread's in places of its own: registers would have to be waited for all at
// once. A place is loaded again as soon as it is multiplied, also across the border of two tiles,
// so that of every thread eight loads are always under way. Bytes: outputs * pitch * 2.
#include <algorithm>
#include <type_traits>

#include "worker/kernels/few_rows_cuda.h"
#include "worker/kernels/launch.cuh"
#include "worker/kernels/row_numbers.cuh"

namespace headlong::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;
constexpr int kBlocks = 3;                     // most on a multiprocessor at once
constexpr int kOutputs = 16;                   // of a tile
constexpr int kChunk = 32;                     // inputs of a warp's pair of mma
constexpr int kChunksAtOnce = 4;               // of a warp
constexpr int kStep = kWarps * kChunksAtOnce;  // chunks of a block

using Parts = float[kWarps][kOutputs * kFewRows];

// Of a chunk each thread's two rows of weights, eight apart in the tile.
using Ring = uint4[kWarps][kChunksAtOnce][2][32];

// Zeros where not `there`.
__device__ void Copy(uint4* to, const uint16_t* from, bool there) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(to))),
               "l"(from), "r"(there ? 16 : 0)
               : "memory");
}

__device__ void MultiplyAdd(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// low, high: eight inputs of this thread's two rows of weights; x: the same inputs of its row of x.
__device__ void AddChunk(float (&sum)[4], uint4 low, uint4 high, uint4 x) {
  MultiplyAdd(sum, {low.x, high.x, low.y, high.y}, {x.x, x.y});
  MultiplyAdd(sum, {low.z, high.z, low.w, high.w}, {x.z, x.w});
}

template <bool kGated>
constexpr int kColumns = kGated ? kOutputs / 2 : kOutputs;  // of y that a tile makes

template <bool kGated>
__host__ __device__ int Tiles(const FewRowsProduct& p) {
  const int columns = kGated ? static_cast<int>(p.gated.pitch) : p.outputs;
  return (columns + kColumns<kGated> - 1) / kColumns<kGated>;
}

// What a thread loads next: chunks of its two rows of weights, eight apart in the tile, or of a
// gate and its column of up. Its lane is of row lane / 4 of them and of x.
template <bool kGated>
class Cursor {
 public:
  __device__ explicit Cursor(const FewRowsProduct& p) : p_(p), tile_(blockIdx.x) { Enter(); }

  __device__ bool there() const { return tile_ < Tiles<kGated>(p_); }
  __device__ bool Has(int i) const { return there() && chunk_ + i < p_.pitch / kChunk; }
  __device__ int chunk() const { return chunk_; }
  // Starts loads of both rows.
  __device__ void Load(int i, Ring& ring) const {
    auto& place = ring[threadIdx.x / 32][i];
    Copy(&place[0][threadIdx.x % 32], low_ + i * kChunk, Has(i));
    Copy(&place[1][threadIdx.x % 32], high_ + i * kChunk, Has(i));
    asm volatile("cp.async.commit_group;" ::: "memory");
  }

  __device__ void Advance() {
    chunk_ += kStep;
    low_ += kStep * kChunk;
    high_ += kStep * kChunk;
    if (chunk_ - FirstChunk() < p_.pitch / kChunk) return;  // all warps alike
    tile_ += static_cast<int>(gridDim.x);
    Enter();
  }

 private:
  __device__ static int FirstChunk() { return static_cast<int>(threadIdx.x / 32) * kChunksAtOnce; }

  __device__ void Enter() {
    chunk_ = FirstChunk();
    const int lane = threadIdx.x % 32, last = p_.outputs - 1;
    const int row = tile_ * kColumns<kGated> + lane / 4;
    const int low = min(row, last);
    const int high = kGated ? p_.outputs + low : min(row + kOutputs / 2, last);
    const int at = chunk_ * kChunk + lane % 4 * 8;
    low_ = p_.weights + int64_t{low} * p_.pitch + at;
    high_ = p_.weights + int64_t{high} * p_.pitch + at;
  }

  const FewRowsProduct& p_;
  const uint16_t *low_, *high_;
  int tile_, chunk_;
};

// Eight inputs of a row of x in bf16, as they are in memory or rounded.
struct Rounded {
  uint4 eight;
  __device__ explicit Rounded(const uint16_t* from)
      : eight(*reinterpret_cast<const uint4*>(from)) {}
  __device__ Rounded() : eight{} {}
  __device__ uint4 Eight() const { return eight; }
};
struct Floats {
  float4 low, high;
  __device__ explicit Floats(const float* from)
      : low(reinterpret_cast<const float4*>(from)[0]),
        high(reinterpret_cast<const float4*>(from)[1]) {}
  __device__ Floats() : low{}, high{} {}
  __device__ uint4 Eight() const {
    return {RoundTwo(low.x, low.y), RoundTwo(low.z, low.w), RoundTwo(high.x, high.y),
            RoundTwo(high.z, high.w)};
  }
};

// One of kChunksAtOnce parts of what the next product reads first. All blocks take part.
__device__ void FetchNext(const FewRowsProduct& p, int part) {
#if __CUDA_ARCH__ >= 900
  constexpr int kAhead = 4096;  // bytes that a thread asks for at once
  const int64_t threads = int64_t{gridDim.x} * kThreads * kChunksAtOnce;
  const int64_t thread = (int64_t{threadIdx.x} * kChunksAtOnce + part) * gridDim.x + blockIdx.x;
  for (int64_t at = thread * kAhead; at < p.next_bytes; at += threads * kAhead) {
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(p.next + at),
                 "r"(static_cast<int>(min(int64_t{kAhead}, p.next_bytes - at)))
                 : "memory");
  }
#endif
}

__device__ float Total(const Parts& parts, int output, int x_row) {
  float total = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) total += parts[w][output * kFewRows + x_row];
  return total;
}

template <bool kGated>
__device__ void StoreTile(const FewRowsProduct& p, int tile, const Parts& parts) {
  const int column = static_cast<int>(threadIdx.x) % kColumns<kGated>;
  const int x_row = static_cast<int>(threadIdx.x) / kColumns<kGated>;
  if (x_row >= p.rows) return;
  const int output = tile * kColumns<kGated> + column;
  float y = Total(parts, column, x_row);
  if constexpr (kGated) {
    y = output < p.outputs ? SiluTimes(y, Total(parts, column + kOutputs / 2, x_row)) : 0.0f;
    if (output < p.gated.pitch) p.gated.rows[x_row * p.gated.pitch + output] = RoundOne(y);
  }
  if (output < p.outputs) p.y[int64_t{x_row} * p.outputs + output] = y;
}

template <bool kGated, typename X>
__global__ void __launch_bounds__(kThreads, kBlocks) FewRowsKernel(FewRowsProduct p) {
  __shared__ __align__(16) Ring ring;
  __shared__ Parts parts[2];  // of a tile, while others still read those of the tile before
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  Cursor<kGated> cursor(p);
#pragma unroll
  for (int i = 0; i < kChunksAtOnce; ++i) cursor.Load(i, ring);  // while the kernels before end
  LetNextBegin();
  WaitForStream();
  const auto load_x = [&](int i) {
    if (lane / 4 >= p.rows || !cursor.Has(i)) return X();
    const int at = lane / 4 * p.pitch + (cursor.chunk() + i) * kChunk + lane % 4 * 8;
    if constexpr (std::is_same_v<X, Floats>)
      return X(p.floats + at);
    else
      return X(p.x + at);
  };
  X x[kChunksAtOnce];
#pragma unroll
  for (int i = 0; i < kChunksAtOnce; ++i) x[i] = load_x(i);
  int which = 0;
  for (int tile = blockIdx.x; tile < Tiles<kGated>(p); tile += gridDim.x) {
    float sum[2][4] = {};  // two chains of products
    for (int chunk = 0; chunk < p.pitch / kChunk; chunk += kStep) {
      cursor.Advance();
#pragma unroll
      for (int i = 0; i < kChunksAtOnce; ++i) {
        if (!cursor.there()) FetchNext(p, i);  // all own loads are under way
        asm volatile("cp.async.wait_group %0;" ::"n"(kChunksAtOnce - 1) : "memory");
        AddChunk(sum[i % 2], ring[warp][i][0][lane], ring[warp][i][1][lane], x[i].Eight());
        cursor.Load(i, ring);
        x[i] = load_x(i);
      }
    }
    // sum: outputs lane / 4 and, of i = 2 and 3, 8 more; rows of x 2 (lane % 4) and the next.
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      parts[which][warp][(lane / 4 + i / 2 * 8) * kFewRows + lane % 4 * 2 + i % 2] =
          sum[0][i] + sum[1][i];
    }
    __syncthreads();
    if (threadIdx.x < kColumns<kGated> * kFewRows) StoreTile<kGated>(p, tile, parts[which]);
    which ^= 1;
  }
}

int Multiprocessors() {
  static const int count = [] {
    int device = 0, result = 0;
    CheckCuda(cudaGetDevice(&device), "asking for the GPU");
    CheckCuda(cudaDeviceGetAttribute(&result, cudaDevAttrMultiProcessorCount, device),
              "asking for multiprocessors");
    return result;
  }();
  return count;
}

// That run at once.
int Blocks() {
  constexpr int kKibibytes = (sizeof(Ring) + 2 * sizeof(Parts)) / 1024 + 1;  // of one
  return std::min(kBlocks, SharedKibibytes(CodeVersion()) / kKibibytes) * Multiprocessors();
}

// All blocks run at once and have as many tiles, or one less: they end together.
template <bool kGated, typename X>
void Run(const FewRowsProduct& product, cudaStream_t stream) {
  const int tiles = Tiles<kGated>(product), blocks = Blocks();
  const int most = (tiles + blocks - 1) / blocks;  // of a block
  Launch(FewRowsKernel<kGated, X>, {(tiles + most - 1) / most, kThreads}, stream, product);
}

}  // namespace

void RunFewRows(const FewRowsProduct& product, cudaStream_t stream) {
  if (product.outputs == 0 || product.rows == 0) return;
  if (product.gated.rows != nullptr) return Run<true, Rounded>(product, stream);
  if (product.floats != nullptr) return Run<false, Floats>(product, stream);
  Run<false, Rounded>(product, stream);
}

}  // namespace headlong::cuda
