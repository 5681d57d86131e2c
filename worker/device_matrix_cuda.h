// Weights and activations in the memory of a GPU, as backend_cuda keeps them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "common/status.h"
#include "worker/device_memory.h"
#include "worker/kernels/device_array.h"

namespace headlong {

struct CudaMatrix final : public DeviceMatrix {
  int64_t bytes() const override { return memory.size(); }

  cuda::DeviceArray<std::byte> memory;  // [outputs][pitch]
  int outputs = 0;
  int inputs = 0;  // 0 (a worker without heads in a layer): the product is zero
  int64_t pitch = 0;
};

struct CudaVector final : public DeviceVector {
  explicit CudaVector(std::span<const float> from) : values(from) {}
  const cuda::DeviceArray<float> values;
};

// RESOURCE_EXHAUSTED, and `out` as it was, with the bytes asked and free.
template <typename T>
absl::Status TakeMemory(int64_t size, const std::string& what, cuda::DeviceArray<T>& out) {
  if (cuda::DeviceArray<T>::Take(size, out)) return absl::OkStatus();
  size_t free = 0, total = 0;
  cuda::CheckCuda(cudaMemGetInfo(&free, &total), "asking for free memory");
  return absl::ResourceExhaustedError(absl::StrCat("no memory on the GPU for ", what, ": ",
                                                   size * sizeof(T), " bytes, ", free, " of ",
                                                   total, " are free"));
}

inline float* Floats(Activations x) { return static_cast<float*>(x.data); }
inline const float* Values(const DeviceVector& vector) {
  return static_cast<const CudaVector&>(vector).values.get();
}
inline int Size(const DeviceVector& vector) {
  return static_cast<int>(static_cast<const CudaVector&>(vector).values.size());
}

}  // namespace headlong
