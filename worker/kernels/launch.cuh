// Launches that overlap: a kernel begins while the one before it in the stream ends, and waits in
// the kernel where it first touches what others write (programmatic dependent launch).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <utility>

#include "worker/kernels/device_array.h"

namespace headlong::cuda {

// Lets the next kernel of the stream begin. It touches nothing of ours until this one has ended.
__device__ inline void LetNextBegin() { asm volatile("griddepcontrol.launch_dependents;"); }

// Until everything before in the stream has ended and can be seen. REQUIRES: called by every thread
// of a kernel launched by Launch, before it reads or writes activations.
__device__ inline void WaitForStream() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

struct Grid {
  int64_t blocks = 1;
  int threads = 1;  // of a block
};

template <typename... Parameters, typename... Arguments>
void Launch(void (*kernel)(Parameters...), Grid grid, cudaStream_t stream,
            Arguments&&... arguments) {
  cudaLaunchAttribute overlap = {};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(grid.blocks));
  config.blockDim = dim3(static_cast<unsigned>(grid.threads));
  config.stream = stream;
  config.attrs = &overlap;
  config.numAttrs = 1;
  CheckCuda(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...),
            "launching a kernel");
}

}  // namespace headlong::cuda
