// Weights are the A of mma.m16n8k16 and the rows of x its eight columns, so that one kernel serves
// 1 to 8 rows. A block of threads makes 16 outputs, a tile; its warps share out the inputs and add
// up in shared memory.
//
// The order of the inputs within a product is free as long as A and B agree: a thread takes eight
// inputs in a row of 16 bytes, for its two rows of weights and its row of x, and feeds them to two
// mma. So every load is 16 bytes wide, 64 contiguous bytes per row and warp. Bytes: outputs * pitch
// * 2. (Blocks that stay and bring weights through shared memory, so that loads never pause, took a
// quarter longer on an H200: 71 us instead of 57 for 28672 outputs of 4096 inputs.)
#include <type_traits>

#include "worker/kernels/few_rows_cuda.h"
#include "worker/kernels/launch.cuh"
#include "worker/kernels/row_numbers.cuh"

namespace headlong::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;
constexpr int kOutputs = 16;      // of a tile
constexpr int kChunk = 32;        // inputs of a warp's pair of mma
constexpr int kChunksAtOnce = 4;  // loads in flight: 2 x 16 bytes of weights each

using Parts = float[kWarps][kOutputs * kFewRows];

// Weights are read once: they must not push x out of the L1 cache.
__device__ uint4 LoadOnce(const uint16_t* from) {
  uint4 value;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "l"(from));
  return value;
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

// A thread's two rows of weights: eight apart in the tile, or of a gate and its column of up.
template <bool kGated>
struct WeightRows {
  const uint16_t *low, *high;

  __device__ explicit WeightRows(const FewRowsProduct& p) {
    const int lane = threadIdx.x % 32, last = p.outputs - 1;
    const int row = static_cast<int>(blockIdx.x) * kColumns<kGated> + lane / 4;
    const int low_row = min(row, last);
    const int high_row = kGated ? p.outputs + low_row : min(row + kOutputs / 2, last);
    low = p.weights + int64_t{low_row} * p.pitch + lane % 4 * 8;
    high = p.weights + int64_t{high_row} * p.pitch + lane % 4 * 8;
  }
  __device__ void Load(int chunk, int chunks, uint4 (&a)[kChunksAtOnce],
                       uint4 (&b)[kChunksAtOnce]) const {
#pragma unroll
    for (int i = 0; i < kChunksAtOnce; ++i) {
      const bool there = chunk + i < chunks;
      const int offset = (chunk + i) * kChunk;
      a[i] = there ? LoadOnce(low + offset) : uint4{};
      b[i] = there ? LoadOnce(high + offset) : uint4{};
    }
  }
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

__device__ float Total(const Parts& parts, int output, int x_row) {
  float total = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) total += parts[w][output * kFewRows + x_row];
  return total;
}

template <bool kGated>
__device__ void StoreTile(const FewRowsProduct& p, const Parts& parts) {
  const int column = static_cast<int>(threadIdx.x) % kColumns<kGated>;
  const int x_row = static_cast<int>(threadIdx.x) / kColumns<kGated>;
  if (x_row >= p.rows) return;
  const int output = static_cast<int>(blockIdx.x) * kColumns<kGated> + column;
  float y = Total(parts, column, x_row);
  if constexpr (kGated) {
    y = output < p.outputs ? SiluTimes(y, Total(parts, column + kOutputs / 2, x_row)) : 0.0f;
    if (output < p.gated.pitch) p.gated.rows[x_row * p.gated.pitch + output] = RoundOne(y);
  }
  if (output < p.outputs) p.y[int64_t{x_row} * p.outputs + output] = y;
}

// Blocks on a multiprocessor: one more than registers would allow else; x in fp32 takes more.
template <typename X>
constexpr int kBlocks = std::is_same_v<X, Floats> ? 3 : 4;

template <bool kGated, typename X>
__global__ void __launch_bounds__(kThreads, kBlocks<X>) FewRowsKernel(FewRowsProduct p) {
  __shared__ Parts parts;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int chunks = p.pitch / kChunk, x_at = lane / 4 * p.pitch + lane % 4 * 8;
  const WeightRows<kGated> weights(p);
  const auto load_x = [&](int chunk) {
    if (lane / 4 >= p.rows || chunk >= chunks) return X();
    if constexpr (std::is_same_v<X, Floats>) {
      return X(p.floats + x_at + chunk * kChunk);
    } else {
      return X(p.x + x_at + chunk * kChunk);
    }
  };
  float sum[4] = {};
  uint4 a[kChunksAtOnce], b[kChunksAtOnce];
  X x[kChunksAtOnce];
  int chunk = warp * kChunksAtOnce;
  weights.Load(chunk, chunks, a, b);  // of no kernel before: while those end
  LetNextBegin();
  WaitForStream();
  while (chunk < chunks) {
#pragma unroll
    for (int i = 0; i < kChunksAtOnce; ++i) x[i] = load_x(chunk + i);
#pragma unroll
    for (int i = 0; i < kChunksAtOnce; ++i) AddChunk(sum, a[i], b[i], x[i].Eight());
    chunk += kWarps * kChunksAtOnce;
    weights.Load(chunk, chunks, a, b);
  }
  // sum: outputs lane / 4 and, of i = 2 and 3, 8 more; rows of x 2 (lane % 4) and the next.
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    parts[warp][(lane / 4 + i / 2 * 8) * kFewRows + lane % 4 * 2 + i % 2] = sum[i];
  }
  __syncthreads();
  if (threadIdx.x < kColumns<kGated> * kFewRows) StoreTile<kGated>(p, parts);
}

template <bool kGated, typename X>
void Run(const FewRowsProduct& product, cudaStream_t stream) {
  const int columns = kGated ? static_cast<int>(product.gated.pitch) : product.outputs;
  const int tiles = (columns + kColumns<kGated> - 1) / kColumns<kGated>;
  Launch(FewRowsKernel<kGated, X>, {tiles, kThreads}, stream, product);
}

}  // namespace

void RunFewRows(const FewRowsProduct& product, cudaStream_t stream) {
  if (product.outputs == 0 || product.rows == 0) return;
  if (product.gated.rows != nullptr) return Run<true, Rounded>(product, stream);
  if (product.floats != nullptr) return Run<false, Floats>(product, stream);
  Run<false, Rounded>(product, stream);
}

}  // namespace headlong::cuda
