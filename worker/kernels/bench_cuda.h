// Kernels that only benchmarks need: reading memory as fast as can be, and numbers to compute with.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace headlong::cuda {

// Reads all of it and writes nothing, unless the sum of the bits is one number in 2^32.
// blocks: of 256 threads. bytes: a multiple of 16.
cudaError_t LaunchReadOnly(const std::byte* from, int64_t bytes, int blocks, uint32_t* out,
                           cudaStream_t stream);

// Numbers in [-1, 1), as bf16 and, in pairs, as fp32: zeros would draw less power and flatter the
// clock. bytes: even.
cudaError_t LaunchFillRandom(std::byte* to, int64_t bytes, cudaStream_t stream);

}  // namespace headlong::cuda
