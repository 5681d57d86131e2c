// Memory of the current GPU, owned. A failed call ends the process: memory is taken at load, where
// the caller has checked that it is there. Not thread-safe.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <utility>
#include <vector>

namespace headlong::cuda {

inline void CheckCuda(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "CUDA: %s: %s\n", what, cudaGetErrorString(error));
  std::abort();
}

// False where there is no GPU, or no driver for one.
inline bool HasDevice() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

template <typename T>
class DeviceArray {
 public:
  DeviceArray() = default;
  explicit DeviceArray(int64_t size) : size_(size) {
    CheckCuda(cudaMalloc(&memory_, size * sizeof(T) + 1), "allocating");
  }
  explicit DeviceArray(std::span<const T> values) : DeviceArray(std::ssize(values)) {
    Write(values);
  }
  // False, and `out` as it was, where so much memory is not free.
  static bool Take(int64_t size, DeviceArray& out) {
    DeviceArray taken;
    if (cudaMalloc(&taken.memory_, size * sizeof(T) + 1) != cudaSuccess) {
      cudaGetLastError();  // forgets it: the device goes on
      return false;
    }
    taken.size_ = size;
    out = std::move(taken);
    return true;
  }
  DeviceArray(DeviceArray&& other) noexcept { *this = std::move(other); }
  DeviceArray& operator=(DeviceArray&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~DeviceArray() { cudaFree(memory_); }

  T* get() const { return static_cast<T*>(memory_); }
  int64_t size() const { return size_; }

  // The values are there when it returns, whatever stream reads them: a copy from memory that is
  // not pinned returns before the last of it has arrived. REQUIRES: at most size() values.
  void Write(std::span<const T> values) {
    CheckCuda(cudaMemcpy(memory_, values.data(), values.size_bytes(), cudaMemcpyHostToDevice),
              "writing");
    CheckCuda(cudaStreamSynchronize(nullptr), "writing");
  }
  std::vector<T> Read() const {
    std::vector<T> values(size_);
    CheckCuda(cudaMemcpy(values.data(), memory_, size_ * sizeof(T), cudaMemcpyDeviceToHost),
              "reading");
    return values;
  }
  void FillBytes(int value) { CheckCuda(cudaMemset(memory_, value, size_ * sizeof(T)), "filling"); }

 private:
  void* memory_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace headlong::cuda
