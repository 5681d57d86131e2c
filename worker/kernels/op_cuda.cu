// Every kernel here moves each of its bytes once: it is bound by memory, or by its launch where
// rows are few. Sums are fp32.
#include <algorithm>

#include "worker/kernels/launch.cuh"
#include "worker/kernels/op_cuda.h"
#include "worker/kernels/row_numbers.cuh"

namespace headlong::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxBlocks = 132 * 16;

int BlocksFor(int64_t work) {
  return static_cast<int>(std::clamp<int64_t>((work + kThreads - 1) / kThreads, 1, kMaxBlocks));
}

__device__ float WarpSum(float value) {
  for (int lane = 16; lane > 0; lane /= 2) value += __shfl_xor_sync(~0u, value, lane);
  return value;
}

// REQUIRES: all threads of a block of at most 1024 call it.
__device__ float BlockSum(float value) {
  __shared__ float parts[32];
  value = WarpSum(value);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
  __syncthreads();
  const int warps = blockDim.x / 32;
  return WarpSum(static_cast<int>(threadIdx.x % 32) < warps ? parts[threadIdx.x % 32] : 0.0f);
}

constexpr int kMostKept = 16;  // numbers of a row that a thread holds in registers
constexpr int kNormThreads = 1024;

// One block per row, kKept numbers to a thread. The weights are read while the kernel before ends.
template <int kKept>
__global__ void __launch_bounds__(kNormThreads) RmsNormKernel(RmsNormCall call) {
  LetNextBegin();
  const int first = static_cast<int>(threadIdx.x), step = static_cast<int>(blockDim.x);
  float weight[kKept], kept[kKept];
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
    const int i = first + k * step;
    weight[k] = i < call.columns ? call.weight[i] : 0.0f;
  }
  WaitForStream();
  const int64_t row = int64_t{blockIdx.x} * call.columns;
  float* x = call.x + row;
  float added[kKept];
#pragma unroll
  for (int k = 0; k < kKept; ++k) {  // all loads before the first store, which they might follow
    const int i = first + k * step;
    kept[k] = i < call.columns ? x[i] : 0.0f;
    added[k] = call.add != nullptr && i < call.columns ? call.add[row + i] : 0.0f;
  }
  float sum = 0;
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
    const int i = first + k * step;
    kept[k] += added[k];
    if (call.add != nullptr && i < call.columns) x[i] = kept[k];
    sum += kept[k] * kept[k];
  }
  const float inverse = 1.0f / sqrtf(BlockSum(sum) / static_cast<float>(call.columns) + call.eps);
  uint16_t* rounded =
      call.rounded.rows == nullptr ? nullptr : call.rounded.rows + blockIdx.x * call.rounded.pitch;
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
    const int i = first + k * step;
    const float value = kept[k] * inverse * weight[k];
    if (i < call.columns) call.out[row + i] = value;
    if (rounded != nullptr && i < call.rounded.pitch) rounded[i] = RoundOne(value);
  }
}

// One block per row.
__global__ void __launch_bounds__(kNormThreads)
    CenterKernel(const float* x, int columns, float* out) {
  LetNextBegin();
  WaitForStream();
  x += int64_t{blockIdx.x} * columns;
  out += int64_t{blockIdx.x} * columns;
  float sum = 0;
  for (int i = threadIdx.x; i < columns; i += blockDim.x) sum += x[i];
  const float mean = BlockSum(sum) / static_cast<float>(columns);
  for (int i = threadIdx.x; i < columns; i += blockDim.x) out[i] = x[i] - mean;
}

// One warp per head of a row.
__global__ void NormHeadsKernel(NormHeadsCall call) {
  LetNextBegin();
  WaitForStream();
  const int heads = call.q_heads + call.k_heads;
  const int64_t index = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32;
  if (index >= int64_t{heads} * call.rows) return;
  const int lane = threadIdx.x % 32;
  const int head = static_cast<int>(index % heads);
  float* x = call.x + index / heads * call.row_stride + int64_t{head} * call.dim;
  const float* weight = head < call.q_heads ? call.q_weight : call.k_weight;
  float sum = 0;
  for (int i = lane; i < call.dim; i += 32) sum += x[i] * x[i];
  const float inverse = 1.0f / sqrtf(WarpSum(sum) / static_cast<float>(call.dim) + call.eps);
  for (int i = lane; i < call.dim; i += 32) x[i] = x[i] * inverse * weight[i];
}

__global__ void SiluMulKernel(SiluMulCall call) {
  LetNextBegin();
  WaitForStream();
  const int64_t width = call.rounded.rows == nullptr ? call.columns : call.rounded.pitch;
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < width * call.rows;
       i += step) {
    const int64_t row = i / width, column = i % width;
    float value = 0;
    if (column < call.columns) {
      const float* pair = call.gate_up + row * 2 * call.columns + column;
      value = SiluTimes(pair[0], pair[call.columns]);
      call.out[row * call.columns + column] = value;
    }
    if (call.rounded.rows != nullptr) call.rounded.rows[i] = RoundOne(value);
  }
}

__global__ void GeluKernel(const float* x, int64_t count, float* out) {
  LetNextBegin();
  WaitForStream();
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    out[i] = 0.5f * x[i] * (1 + erff(x[i] * 0.70710678f));
  }
}

__global__ void AddBiasKernel(float* x, const float* bias, int64_t count, int columns) {
  LetNextBegin();
  WaitForStream();
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    x[i] += bias[i % columns];
  }
}

__global__ void AddKernel(float* x, const float* y, int64_t count) {
  LetNextBegin();
  WaitForStream();
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    x[i] += y[i];
  }
}

__global__ void RoundKernel(const float* x, int rows, int columns, RoundedRows rounded) {
  LetNextBegin();
  WaitForStream();
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < rounded.pitch * rows;
       i += step) {
    const int64_t row = i / rounded.pitch, column = i % rounded.pitch;
    rounded.rows[i] = RoundOne(column < columns ? x[row * columns + column] : 0.0f);
  }
}

__device__ float Widen(float value) { return value; }
__device__ float Widen(uint16_t value) {
  return __uint_as_float(static_cast<uint32_t>(value) << 16);
}

// out[i] = from(i), by all threads of a block. Loads come before the stores that they might follow.
template <typename From>
__device__ void CopyNumbers(From from, int count, float* out) {
  constexpr int kAtOnce = 16;
  const int step = static_cast<int>(blockDim.x);
  for (int first = threadIdx.x; first < count; first += kAtOnce * step) {
    float kept[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const int i = first + k * step;
      kept[k] = i < count ? from(i) : 0.0f;
    }
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const int i = first + k * step;
      if (i < count) out[i] = kept[k];
    }
  }
}

// One block per row.
template <typename Element>
__global__ void EmbedKernel(EmbedCall call) {
  LetNextBegin();
  WaitForStream();
  const int64_t index = int64_t{call.tokens[blockIdx.x]} - call.first_token;
  const bool held = index >= 0 && index < call.table_rows;
  const Element* row = static_cast<const Element*>(call.table) + (held ? index : 0) * call.columns;
  float* out = call.out + int64_t{blockIdx.x} * call.columns;
  CopyNumbers([&](int i) { return held ? Widen(row[i]) : 0.0f; }, call.columns, out);
}

// One block per row.
__global__ void GatherRowsKernel(GatherRowsCall call) {
  LetNextBegin();
  WaitForStream();
  const float* row = call.x + int64_t{call.indices[blockIdx.x]} * call.columns;
  float* out = call.out + int64_t{blockIdx.x} * call.columns;
  CopyNumbers([&](int i) { return row[i]; }, call.columns, out);
}

constexpr int kBestThreads = 1024;

struct Best {
  float value;
  int index;
};
__device__ Best Better(Best a, Best b) {
  const bool second = b.value > a.value || (b.value == a.value && b.index < a.index);
  return second ? b : a;
}
__device__ Best WarpBest(Best best) {
  for (int lane = 16; lane > 0; lane /= 2) {
    best = Better(best,
                  {__shfl_xor_sync(~0u, best.value, lane), __shfl_xor_sync(~0u, best.index, lane)});
  }
  return best;
}

// One block per row.
__global__ void __launch_bounds__(kBestThreads) BestTokensKernel(BestTokensCall call) {
  __shared__ Best parts[kBestThreads / 32];
  LetNextBegin();
  WaitForStream();
  const float* row = call.x + int64_t{blockIdx.x} * call.columns;
  Best best = {-__builtin_huge_valf(), call.columns};
#pragma unroll 8
  for (int i = threadIdx.x; i < call.columns; i += kBestThreads) {
    best = Better(best, {row[i], i});
  }
  best = WarpBest(best);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = best;
  __syncthreads();
  best = WarpBest(parts[threadIdx.x % 32]);
  if (threadIdx.x > 0) return;
  call.out[2 * blockIdx.x] = best.value;
  call.out[2 * blockIdx.x + 1] = static_cast<float>(call.first_token + best.index);
}

}  // namespace

void RmsNorm(const RmsNormCall& call, cudaStream_t stream) {
  if (call.rows == 0) return;
  CheckCuda(call.columns <= kNormThreads * kMostKept ? cudaSuccess : cudaErrorInvalidValue,
            "RmsNorm of a row of more than 16384 numbers");
  constexpr int kFew = 4;
  const int threads = std::clamp((call.columns / kFew + 31) / 32 * 32, 32, kNormThreads);
  const bool few = call.columns <= threads * kFew;
  Launch(few ? RmsNormKernel<kFew> : RmsNormKernel<kMostKept>, {call.rows, threads}, stream, call);
}

void Center(const float* x, int rows, int columns, float* out, cudaStream_t stream) {
  if (rows == 0) return;
  const int threads = std::clamp((columns + 31) / 32 * 32, 32, kNormThreads);
  Launch(CenterKernel, {rows, threads}, stream, x, columns, out);
}

void NormHeads(const NormHeadsCall& call, cudaStream_t stream) {
  const int64_t warps = int64_t{call.q_heads + call.k_heads} * call.rows;
  if (warps == 0) return;
  const int64_t blocks = (warps * 32 + kThreads - 1) / kThreads;
  Launch(NormHeadsKernel, {blocks, kThreads}, stream, call);
}

void SiluMul(const SiluMulCall& call, cudaStream_t stream) {
  const int64_t width = std::max<int64_t>(call.columns, call.rounded.pitch);
  if (width * call.rows == 0) return;
  Launch(SiluMulKernel, {BlocksFor(width * call.rows), kThreads}, stream, call);
}

void Gelu(const float* x, int64_t n, float* out, cudaStream_t stream) {
  if (n == 0) return;
  Launch(GeluKernel, {BlocksFor(n), kThreads}, stream, x, n, out);
}

void AddBias(float* x, const float* bias, int rows, int columns, cudaStream_t stream) {
  const int64_t count = int64_t{rows} * columns;
  if (count == 0) return;
  Launch(AddBiasKernel, {BlocksFor(count), kThreads}, stream, x, bias, count, columns);
}

void Add(float* x, const float* y, int64_t n, cudaStream_t stream) {
  if (n == 0) return;
  Launch(AddKernel, {BlocksFor(n), kThreads}, stream, x, y, n);
}

void Round(const float* x, int rows, int columns, RoundedRows rounded, cudaStream_t stream) {
  if (rounded.pitch * rows == 0) return;
  Launch(RoundKernel, {BlocksFor(rounded.pitch * rows), kThreads}, stream, x, rows, columns,
         rounded);
}

void Embed(const EmbedCall& call, cudaStream_t stream) {
  if (call.rows == 0) return;
  if (call.type == ElementType::kFloat32) {
    Launch(EmbedKernel<float>, {call.rows, kThreads}, stream, call);
  } else {
    Launch(EmbedKernel<uint16_t>, {call.rows, kThreads}, stream, call);
  }
}

void GatherRows(const GatherRowsCall& call, cudaStream_t stream) {
  if (call.count == 0) return;
  Launch(GatherRowsKernel, {call.count, kThreads}, stream, call);
}

void BestTokens(const BestTokensCall& call, cudaStream_t stream) {
  if (call.rows == 0) return;
  Launch(BestTokensKernel, {call.rows, kBestThreads}, stream, call);
}

}  // namespace headlong::cuda
