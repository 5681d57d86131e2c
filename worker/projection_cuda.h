// Projections of heads on a GPU, as projection_cpu.h has them on a CPU: matrices of every layer in
// device memory, and the launches that apply them. Immutable once made.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/attention_shape.h"
#include "worker/kernels/device_array.h"
#include "worker/kernels/project_cuda.h"

namespace headlong {

class ProjectionCuda {
 public:
  // RESOURCE_EXHAUSTED with the bytes when they are not to be had.
  static absl::StatusOr<ProjectionCuda> Create(const AttentionShape& shape);

  // Whether a head of the layer is projected. Where none is, the other calls launch nothing.
  bool any(int layer) const { return !layers_.empty() && layers_[layer].any; }

  // Queries and keys of all heads rotated, then all vectors of projected ones projected, in place.
  // qkv: [rows][q of held heads | k | v], cos_sin as cuda::RopeTable makes it.
  void Project(int layer, float* qkv, int rows, const float* cos_sin, cudaStream_t stream) const;
  // In place. out: [rows][q of held heads]
  void Restore(int layer, float* out, int rows, cudaStream_t stream) const;

  int64_t bytes() const;  // device memory taken

 private:
  struct Layer {
    bool any = false;
    int heads = 0;
    int32_t first_project = 0, projects = 0;  // of jobs_
    int32_t first_restore = 0, restores = 0;
  };

  void Launch(cuda::ProjectRows rows, int32_t first, int32_t count, cudaStream_t stream) const;

  int head_dim_ = 0;
  int group_ = 1;
  std::vector<Layer> layers_;  // empty: no head is projected
  cuda::DeviceArray<float> weights_;
  cuda::DeviceArray<cuda::ProjectJob> jobs_;
};

}  // namespace headlong
