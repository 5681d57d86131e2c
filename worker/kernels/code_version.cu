#include <cuda_runtime_api.h>

#include "worker/kernels/code_version.h"
#include "worker/kernels/device_array.h"

namespace headlong::cuda {
namespace {

// All kernels are compiled for the same architectures: this one tells of all.
__global__ void Nothing() {}

}  // namespace

int CodeVersion() {
  static const int version = [] {
    cudaFuncAttributes attributes = {};
    CheckCuda(cudaFuncGetAttributes(&attributes, Nothing), "asking for a kernel's architecture");
    return attributes.ptxVersion;
  }();
  return version;
}

}  // namespace headlong::cuda
