// Second moments of queries, keys and values of a prompt, head by head, on a GPU. CPU twin:
// spectra_cpu.h. One owner, the step thread; sums over chunks are on the host.
#pragma once

#include <cuda_runtime_api.h>

#include <vector>

#include "worker/attention_shape.h"
#include "worker/batch.h"
#include "worker/kernels/device_array.h"
#include "worker/kernels/moments_cuda.h"
#include "worker/probe.h"

namespace headlong {

class SpectraCuda {
 public:
  explicit SpectraCuda(const AttentionShape& shape);

  // Remembers which chunks ask.
  void BeginBatch(const Batch& batch);
  // Adds their rows. qkv: device, [rows][q of held heads | k | v] before rotary embedding and any
  // projection; cos_sin as cuda::RopeTable makes it. Waits for the stream where a chunk asks.
  void Add(int layer, const float* qkv, const float* cos_sin, cudaStream_t stream);
  // What came together since the last call, by layer and head.
  std::vector<HeadMoments> Take() { return moments_.Take(); }

 private:
  void AddChunk(int layer, const cuda::MomentRows& rows, cudaStream_t stream);

  struct Rows {
    int first = 0;
    int count = 0;
  };

  const int head_dim_;
  const int group_;
  const std::vector<std::vector<int>> heads_;  // [layer] -> KV heads held
  std::vector<Rows> asked_;
  cuda::DeviceArray<float> sums_;  // of one layer's chunk, taken when one asks
  std::vector<float> read_;
  MomentsByHead moments_;
};

}  // namespace headlong
