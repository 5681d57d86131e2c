// Sums of what rows of prompts pay attention to, on a GPU. CPU twin: repeat_attention_cpu.h. One
// owner, the step thread; calls launch in the order of the stream.
#pragma once

#include <cuda_runtime_api.h>

#include <vector>

#include "worker/attention_shape.h"
#include "worker/batch.h"
#include "worker/kernels/device_array.h"
#include "worker/kernels/repeat_attention_cuda.h"
#include "worker/probe.h"

namespace headlong {

class RepeatAttentionCuda {
 public:
  explicit RepeatAttentionCuda(const AttentionShape& shape);

  // Remembers what the batch asks.
  void BeginBatch(const Batch& batch);
  // After attention of a layer. `layer_rows`: all but the fields of a chunk.
  void Add(int layer, cuda::ScoredChunk layer_rows, cudaStream_t stream);
  // What came together since the last call, of layers that were scored. Waits for the stream.
  std::vector<AttentionSums> Take(cudaStream_t stream);

 private:
  struct Asked {
    int index = 0;  // of the chunk
    int64_t period = 0;
    int64_t first_scored = 0;
    std::vector<CopiedPosition> copies;
  };

  const int group_;
  const std::vector<std::vector<int>> heads_;  // [layer] -> KV heads held
  std::vector<Asked> asked_;
  std::vector<cuda::DeviceArray<cuda::DeviceRepeatSums>> sums_;  // [layer], once it is scored
};

}  // namespace headlong
