#include "worker/kernels/launch.cuh"
#include "worker/kernels/push_sum_cuda.h"

namespace headlong::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kBlocks = 32;  // always: blocks count the sums, kBlocks to each
constexpr int kMost = static_cast<int>(kMaxPushFloats / 4 / (kThreads * kBlocks));  // of a thread
constexpr unsigned kEmpty = 0x80000000u;                                            // -0.0
constexpr unsigned kLooks = 1024;  // at a slot, before one at the host's word

__device__ uint4 Look(const uint4* slot) {
  uint4 words;
  asm volatile("ld.volatile.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
               : "l"(slot)
               : "memory");
  return words;
}

__device__ void Write(uint4* slot, uint4 words) {
  asm volatile("st.volatile.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(slot), "r"(words.x),
               "r"(words.y), "r"(words.z), "r"(words.w)
               : "memory");
}

__device__ bool IsThere(uint4 words) {
  return words.x != kEmpty && words.y != kEmpty && words.z != kEmpty && words.w != kEmpty;
}

__device__ unsigned Word(float value) { return value == 0 ? 0u : __float_as_uint(value); }

// Numbers [4 quad, 4 quad + 4) of x, of which those from `count` on are 0.
__device__ uint4 LoadQuad(const float* x, int64_t count, int64_t quad) {
  const int64_t at = 4 * quad;
  if (at + 4 <= count) {
    const float4 four = reinterpret_cast<const float4*>(x)[quad];
    return {Word(four.x), Word(four.y), Word(four.z), Word(four.w)};
  }
  return {at < count ? Word(x[at]) : 0u, at + 1 < count ? Word(x[at + 1]) : 0u,
          at + 2 < count ? Word(x[at + 2]) : 0u, 0u};
}

__device__ void StoreQuad(float* x, int64_t count, int64_t quad, float4 four) {
  const int64_t at = 4 * quad;
  if (at + 4 <= count) {
    reinterpret_cast<float4*>(x)[quad] = four;
    return;
  }
  if (at < count) x[at] = four.x;
  if (at + 1 < count) x[at + 1] = four.y;
  if (at + 2 < count) x[at + 2] = four.z;
}

__device__ float4 Plus(float4 a, uint4 b) {
  return {a.x + __uint_as_float(b.x), a.y + __uint_as_float(b.y), a.z + __uint_as_float(b.z),
          a.w + __uint_as_float(b.w)};
}

// A thread's words of one rank: all are asked for at once, until all are there. What has come makes
// room for what comes the next time.
__device__ void Receive(uint4* from, int64_t first, int64_t quads, const int* abandoned,
                        uint4 (&words)[kMost]) {
  bool all = false;
  for (unsigned looks = 1; !all; ++looks) {
    all = true;
#pragma unroll
    for (int i = 0; i < kMost; ++i) {
      const int64_t quad = first + i * kThreads * kBlocks;
      words[i] = quad < quads ? Look(from + quad) : uint4{};
    }
#pragma unroll
    for (int i = 0; i < kMost; ++i) all = all && IsThere(words[i]);
    if (looks % kLooks == 0 && *reinterpret_cast<const volatile int*>(abandoned) != 0) break;
  }
#pragma unroll
  for (int i = 0; i < kMost; ++i) {
    const int64_t quad = first + i * kThreads * kBlocks;
    if (quad < quads) Write(from + quad, {kEmpty, kEmpty, kEmpty, kEmpty});
  }
}

// Warps of a block take every kBlocks-th 512 bytes, so that few numbers leave from many
// multiprocessors. The turn is taken while kernels before this one end, and before any after it may
// begin: no two sums take turns at once.
__global__ void __launch_bounds__(kThreads) PushSumKernel(PushSum sum) {
  __shared__ int64_t set;
  if (threadIdx.x == 0) set = atomicAdd(sum.turns, 1) / kBlocks % 2 * sum.world;
  __syncthreads();
  LetNextBegin();
  WaitForStream();
  const int64_t quads = (sum.count + 3) / 4;
  const int64_t first = (threadIdx.x / 32 * kBlocks + blockIdx.x) * 32 + threadIdx.x % 32;
  uint4 own[kMost];
#pragma unroll
  for (int i = 0; i < kMost; ++i) {
    const int64_t quad = first + i * kThreads * kBlocks;
    own[i] = quad < quads ? LoadQuad(sum.x, sum.count, quad) : uint4{};
  }
  const auto slots = [&](int owner, int writer) {
    return reinterpret_cast<uint4*>(sum.slots[owner] + (set + writer) * kMaxPushFloats);
  };
  for (int step = 1; step < sum.world; ++step) {
    const int peer = (sum.rank + step) % sum.world;  // not all to the same one at once
    uint4* const to = slots(peer, sum.rank);
#pragma unroll
    for (int i = 0; i < kMost; ++i) {
      const int64_t quad = first + i * kThreads * kBlocks;
      if (quad < quads) Write(to + quad, own[i]);
    }
  }
  float4 total[kMost] = {};
  for (int rank = 0; rank < sum.world; ++rank) {
    uint4 words[kMost] = {};
    if (rank != sum.rank) Receive(slots(sum.rank, rank), first, quads, sum.abandoned, words);
#pragma unroll
    for (int i = 0; i < kMost; ++i) total[i] = Plus(total[i], rank == sum.rank ? own[i] : words[i]);
  }
#pragma unroll
  for (int i = 0; i < kMost; ++i) {
    const int64_t quad = first + i * kThreads * kBlocks;
    if (quad < quads) StoreQuad(sum.x, sum.count, quad, total[i]);
  }
}

__global__ void EmptySlots(uint4* slots, int64_t quads) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < quads; i += step) {
    slots[i] = {kEmpty, kEmpty, kEmpty, kEmpty};
  }
}

}  // namespace

cudaError_t LaunchEmptySlots(float* slots, int64_t floats, cudaStream_t stream) {
  EmptySlots<<<kBlocks, kThreads, 0, stream>>>(reinterpret_cast<uint4*>(slots), floats / 4);
  return cudaGetLastError();
}

void RunPushSum(const PushSum& sum, cudaStream_t stream) {
  if (sum.count == 0) return;
  CheckCuda(sum.count <= kMaxPushFloats ? cudaSuccess : cudaErrorInvalidValue, "a sum too long");
  Launch(PushSumKernel, {kBlocks, kThreads}, stream, sum);
}

}  // namespace headlong::cuda
