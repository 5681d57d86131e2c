// Stored tensors on their way into a GPU's memory: gathered from the mapped files by all threads
// into one of two pinned buffers while the other travels, converted on the device. One owner.
#pragma once

#include <array>

#include "worker/kernels/cuda_handles.h"
#include "worker/kernels/load_cuda.h"
#include "worker/matrix_source.h"

namespace headlong {

class WeightStage {
 public:
  // Takes 2 x 16 MiB of pinned memory and as much of the device.
  explicit WeightStage(cudaStream_t stream);

  // Puts `source` into a device matrix: `to.rows` and `to.columns` are its outputs and inputs.
  // Returns when the files are read; the rest is in the stream's order.
  void Load(const MatrixSource& source, const cuda::MatrixBlock& to);

 private:
  struct Buffer {
    cuda::PinnedArray<std::byte> host;
    cuda::DeviceArray<std::byte> device;
    cuda::Event free;
  };

  void LoadBlock(const TensorBlock& block, const cuda::MatrixBlock& to);

  const cudaStream_t stream_;
  std::array<Buffer, 2> buffers_;
  int next_ = 0;
};

}  // namespace headlong
