// Weights in the memory of a GPU, as backend_cuda keeps them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

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

inline float* Floats(Activations x) { return static_cast<float*>(x.data); }
inline const float* Values(const DeviceVector& vector) {
  return static_cast<const CudaVector&>(vector).values.get();
}
inline int Size(const DeviceVector& vector) {
  return static_cast<int>(static_cast<const CudaVector&>(vector).values.size());
}

}  // namespace headlong
