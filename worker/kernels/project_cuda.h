// Vectors times small matrices, in place, on a GPU: the projections of heads (cache/projections.h),
// with the rotary embedding before them. CPU twin: worker/projection_cpu.h.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace headlong::cuda {

// Vectors that share a matrix: of each row `count` of them, side by side from float `first` on.
struct ProjectJob {
  const float* weights = nullptr;  // [outputs][inputs]; null: they are only rotated
  int32_t inputs = 0;  // both at most head_dim; what is behind the outputs becomes zeros
  int32_t outputs = 0;
  int32_t first = 0;
  int32_t count = 0;
  bool rotates = false;
};

// All pointers are device memory. Bytes: the vectors twice, and the weights once per 32 vectors
// (out of L2); 2 * inputs * outputs flops a vector.
struct ProjectRows {
  const ProjectJob* jobs = nullptr;  // that share no vector
  int32_t job_count = 0;
  int32_t most_vectors = 0;  // the largest count
  int32_t head_dim = 0;      // a multiple of 16, at most 256
  float* x = nullptr;        // [rows][stride]
  int64_t stride = 0;
  int32_t rows = 0;
  const float* cos_sin = nullptr;  // [rows][2][head_dim / 2]; where a job rotates
};

// Once at load: allows the kernel its shared memory.
cudaError_t PrepareProject();

// Launches only; allocates nothing.
cudaError_t LaunchProject(const ProjectRows& rows, cudaStream_t stream);

}  // namespace headlong::cuda
