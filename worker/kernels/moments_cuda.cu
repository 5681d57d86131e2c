#include "worker/kernels/moments_cuda.h"

namespace headlong::cuda {
namespace {

constexpr int kTile = 64;  // numbers of a side of what a block computes
constexpr int kSide = 4;   // of what a thread computes
constexpr int kAcross = kTile / kSide;
constexpr int kThreads = kAcross * kAcross;
constexpr int kVectors = 16;  // in shared memory at a time

// The vectors of one head and side: `count` of each row, side by side.
struct Vectors {
  const MomentRows& rows;
  const int side, count, first;

  __device__ Vectors(const MomentRows& the_rows, int head, int the_side)
      : rows(the_rows),
        side(the_side),
        count(side == 0 ? rows.group : 1),
        first(side == 0 ? head * rows.group : rows.heads * (rows.group + side - 1) + head) {}

  __device__ int total() const { return rows.rows * count; }
  // Number i of a vector, rotated.
  __device__ float Number(int vector, int i) const {
    const int row = vector / count, d = rows.head_dim, half = d / 2;
    if (vector >= total() || i >= d) return 0;
    const int64_t stride = int64_t{rows.heads} * (rows.group + 2) * d;
    const float* x = rows.qkv + row * stride + int64_t{first + vector % count} * d;
    if (side == 2) return x[i];
    const float* table = rows.cos_sin + int64_t{row} * d;
    const float c = table[i % half], s = table[half + i % half];
    return i < half ? x[i] * c - x[half + i] * s : x[i] * c + x[i - half] * s;
  }
};

__global__ void __launch_bounds__(kThreads) AddMoments(MomentRows rows) {
  __shared__ float left[kVectors][kTile], right[kVectors][kTile];
  const Vectors vectors(rows, blockIdx.x / 3, blockIdx.x % 3);
  int down = 0, across = blockIdx.y;  // tiles of the lower triangle, by rows
  while (across > down) across -= ++down;
  const int y = threadIdx.x / kAcross * kSide, x = threadIdx.x % kAcross * kSide;
  float sums[kSide][kSide] = {};
  for (int begin = 0; begin < vectors.total(); begin += kVectors) {
    for (int i = threadIdx.x; i < kVectors * kTile; i += kThreads) {
      const int vector = i / kTile, number = i % kTile;
      left[vector][number] = vectors.Number(begin + vector, down * kTile + number);
      right[vector][number] = vectors.Number(begin + vector, across * kTile + number);
    }
    __syncthreads();
    for (int vector = 0; vector < kVectors; ++vector) {
#pragma unroll
      for (int a = 0; a < kSide; ++a) {
#pragma unroll
        for (int b = 0; b < kSide; ++b) {
          sums[a][b] += left[vector][y + a] * right[vector][x + b];
        }
      }
    }
    __syncthreads();
  }
  const int d = rows.head_dim;
  float* const to = rows.sums + int64_t{blockIdx.x} * d * d;
  for (int a = 0; a < kSide; ++a) {
    for (int b = 0; b < kSide; ++b) {
      const int i = down * kTile + y + a, j = across * kTile + x + b;
      if (i < d && j <= i) to[i * d + j] = sums[a][b];
    }
  }
}

}  // namespace

cudaError_t LaunchMoments(const MomentRows& rows, cudaStream_t stream) {
  if (rows.heads == 0 || rows.rows == 0) return cudaSuccess;
  const int tiles = (rows.head_dim + kTile - 1) / kTile;
  const dim3 grid(rows.heads * 3, tiles * (tiles + 1) / 2);
  AddMoments<<<grid, kThreads, 0, stream>>>(rows);
  return cudaGetLastError();
}

}  // namespace headlong::cuda
