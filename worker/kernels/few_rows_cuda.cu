// Weights are the A of mma.m16n8k16 and the rows of x its eight columns, so that one kernel serves
// 1 to 8 rows. A block of threads makes 16 outputs; its warps share out the inputs and add up in
// shared memory.
//
// The order of the inputs within a product is free as long as A and B agree: a thread takes eight
// inputs in a row of 16 bytes, for its two rows of weights and its row of x, and feeds them to two
// mma. So every load is 16 bytes wide, 64 contiguous bytes per row and warp.
#include <algorithm>

#include "worker/kernels/few_rows_cuda.h"
#include "worker/kernels/launch.cuh"

namespace headlong::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;
constexpr int kOutputs = 16;      // of a block
constexpr int kChunk = 32;        // inputs of a warp's pair of mma
constexpr int kChunksAtOnce = 4;  // loads in flight: 2 x 16 bytes of weights each

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

__device__ void LoadWeights(const uint16_t* low, const uint16_t* high, int chunk, int chunks,
                            uint4 (&a)[kChunksAtOnce], uint4 (&b)[kChunksAtOnce]) {
#pragma unroll
  for (int i = 0; i < kChunksAtOnce; ++i) {
    const bool there = chunk + i < chunks;
    const int offset = (chunk + i) * kChunk;
    a[i] = there ? LoadOnce(low + offset) : uint4{};
    b[i] = there ? LoadOnce(high + offset) : uint4{};
  }
}

__global__ void __launch_bounds__(kThreads) FewRowsKernel(FewRowsProduct p) {
  __shared__ float parts[kWarps][kOutputs * kFewRows];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int first = blockIdx.x * kOutputs;
  const int row = lane / 4;  // of the weights' two halves, and of x
  const int64_t at = lane % 4 * 8;
  const int last = p.outputs - 1;
  const uint16_t* low = p.weights + int64_t{min(first + row, last)} * p.pitch + at;
  const uint16_t* high = p.weights + int64_t{min(first + row + 8, last)} * p.pitch + at;
  const uint16_t* x = p.x + int64_t{row} * p.pitch + at;
  const bool has_x = row < p.rows;
  const int chunks = p.pitch / kChunk;
  float sum[4] = {};
  uint4 a[kChunksAtOnce], b[kChunksAtOnce], c[kChunksAtOnce];
  int chunk = warp * kChunksAtOnce;
  LoadWeights(low, high, chunk, chunks, a, b);  // of no kernel before: while those end
  LetNextBegin();
  WaitForStream();
  while (chunk < chunks) {
#pragma unroll
    for (int i = 0; i < kChunksAtOnce; ++i) {
      const bool there = has_x && chunk + i < chunks;
      c[i] = there ? *reinterpret_cast<const uint4*>(x + (chunk + i) * kChunk) : uint4{};
    }
#pragma unroll
    for (int i = 0; i < kChunksAtOnce; ++i) AddChunk(sum, a[i], b[i], c[i]);
    chunk += kWarps * kChunksAtOnce;
    LoadWeights(low, high, chunk, chunks, a, b);
  }
  // sum: outputs row and row + 8, rows of x 2 (lane % 4) and the next.
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    parts[warp][(row + i / 2 * 8) * kFewRows + lane % 4 * 2 + i % 2] = sum[i];
  }
  __syncthreads();
  if (threadIdx.x >= kOutputs * kFewRows) return;
  const int output = first + static_cast<int>(threadIdx.x) % kOutputs;
  const int x_row = static_cast<int>(threadIdx.x) / kOutputs;
  if (output > last || x_row >= p.rows) return;
  float total = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) total += parts[w][(output - first) * kFewRows + x_row];
  p.y[int64_t{x_row} * p.outputs + output] = total;
}

}  // namespace

void RunFewRows(const FewRowsProduct& product, cudaStream_t stream) {
  if (product.outputs == 0 || product.rows == 0) return;
  Launch(FewRowsKernel, {(product.outputs + kOutputs - 1) / kOutputs, kThreads}, stream, product);
}

}  // namespace headlong::cuda
