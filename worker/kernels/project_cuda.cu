#include "worker/kernels/project_cuda.h"

namespace headlong::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kVectorsOfWarp = 4;
constexpr int kVectors = kWarps * kVectorsOfWarp;  // of a block
constexpr int kOutputs = 64;                       // whose weights are in shared memory at a time
constexpr int kMaxDims = 256;
// Rows of weights one float apart: the 32 threads of a warp, each at another row, are then on
// different banks.
constexpr int kSharedBytes = (kVectors * kMaxDims + kOutputs * (kMaxDims + 1)) * 4;

struct Place {
  float* vector = nullptr;  // null: there is none
  const float* cos_sin = nullptr;
};

__device__ Place PlaceOf(const ProjectRows& rows, const ProjectJob& job, int index) {
  const int row = index / job.count;
  if (row >= rows.rows) return {};
  return {rows.x + row * rows.stride + job.first + index % job.count * rows.head_dim,
          rows.cos_sin + int64_t{row} * rows.head_dim};
}

// The vector into shared memory, rotated where it is to be.
__device__ void Load(const ProjectJob& job, const Place& place, int dims, float* to) {
  const int half = dims / 2;
  for (int i = threadIdx.x % 32; i < half; i += 32) {
    float a = 0, b = 0;
    if (place.vector != nullptr) {
      a = place.vector[i];
      b = place.vector[half + i];
      if (job.rotates) {
        const float c = place.cos_sin[i], s = place.cos_sin[half + i], low = a;
        a = low * c - b * s;
        b = b * c + low * s;
      }
    }
    to[i] = a;
    to[half + i] = b;
  }
}

__global__ void __launch_bounds__(kThreads) ProjectVectors(ProjectRows rows) {
  extern __shared__ float shared[];
  const ProjectJob job = rows.jobs[blockIdx.x];
  const int dims = rows.head_dim, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int first = (blockIdx.y * kWarps + warp) * kVectorsOfWarp;
  if (blockIdx.y * kVectors >= rows.rows * job.count) return;
  float* const x = shared + warp * kVectorsOfWarp * dims;
  float* const weights = shared + kVectors * dims;
  Place places[kVectorsOfWarp];
  for (int v = 0; v < kVectorsOfWarp; ++v) {
    places[v] = PlaceOf(rows, job, first + v);
    Load(job, places[v], dims, x + v * dims);
  }
  __syncwarp();
  if (job.weights == nullptr) {
    for (int v = 0; v < kVectorsOfWarp; ++v) {
      if (places[v].vector == nullptr) continue;
      for (int i = lane; i < dims; i += 32) places[v].vector[i] = x[v * dims + i];
    }
    return;
  }
  const int stride = job.inputs + 1;
  for (int begin = 0; begin < dims; begin += kOutputs) {
    const int outputs = max(min(job.outputs - begin, kOutputs), 0);
    __syncthreads();  // the weights before these are done with
    for (int i = threadIdx.x; i < outputs * job.inputs; i += kThreads) {
      weights[i / job.inputs * stride + i % job.inputs] = job.weights[begin * job.inputs + i];
    }
    __syncthreads();
    for (int at = lane; at < min(kOutputs, dims - begin); at += 32) {
      float sums[kVectorsOfWarp] = {};
      for (int i = 0; at < outputs && i < job.inputs; ++i) {
        const float weight = weights[at * stride + i];
#pragma unroll
        for (int v = 0; v < kVectorsOfWarp; ++v) sums[v] += weight * x[v * dims + i];
      }
      for (int v = 0; v < kVectorsOfWarp; ++v) {
        if (places[v].vector != nullptr) places[v].vector[begin + at] = sums[v];
      }
    }
  }
}

}  // namespace

cudaError_t PrepareProject() {
  return cudaFuncSetAttribute(ProjectVectors, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              kSharedBytes);
}

cudaError_t LaunchProject(const ProjectRows& rows, cudaStream_t stream) {
  if (rows.job_count == 0 || rows.rows == 0) return cudaSuccess;
  const int64_t vectors = int64_t{rows.rows} * rows.most_vectors;
  const dim3 grid(static_cast<unsigned>(rows.job_count),
                  static_cast<unsigned>((vectors + kVectors - 1) / kVectors));
  const int bytes = (kVectors * rows.head_dim + kOutputs * (rows.head_dim + 1)) * 4;
  ProjectVectors<<<grid, kThreads, bytes, stream>>>(rows);
  return cudaGetLastError();
}

}  // namespace headlong::cuda
