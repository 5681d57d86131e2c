// Launches that overlap: a kernel begins while the one before it in the stream ends, and waits in
// the kernel where it first touches what others write (programmatic dependent launch). GPUs before
// Hopper launch one after the other.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <utility>

#include "worker/kernels/code_version.h"
#include "worker/kernels/device_array.h"

namespace headlong::cuda {

// Lets the next kernel of the stream begin. It touches nothing of ours until this one has ended.
__device__ inline void LetNextBegin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// Until everything before in the stream has ended and can be seen. REQUIRES: called by every thread
// of a kernel launched by Launch, before it reads or writes activations.
__device__ inline void WaitForStream() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// For cudaLaunchConfig_t: 1 where launches overlap, 0 where `attribute` is to be left out.
inline int OverlapIfAny(cudaLaunchAttribute& attribute) {
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  return HasClusters(CodeVersion()) ? 1 : 0;
}

struct Grid {
  int64_t blocks = 1;
  int threads = 1;  // of a block
  int blocks_y = 1;
};

template <typename... Parameters, typename... Arguments>
void Launch(void (*kernel)(Parameters...), Grid grid, cudaStream_t stream,
            Arguments&&... arguments) {
  cudaLaunchAttribute overlap = {};
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(grid.blocks), static_cast<unsigned>(grid.blocks_y));
  config.blockDim = dim3(static_cast<unsigned>(grid.threads));
  config.stream = stream;
  config.attrs = &overlap;
  config.numAttrs = OverlapIfAny(overlap);
  CheckCuda(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...),
            "launching a kernel");
}

}  // namespace headlong::cuda
