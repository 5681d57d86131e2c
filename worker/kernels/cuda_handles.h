// A stream, an event and pinned host memory, owned. A failed call ends the process. Not
// thread-safe.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <utility>

#include "worker/kernels/device_array.h"

namespace headlong::cuda {

class Stream {
 public:
  Stream() { CheckCuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "a stream"); }
  Stream(const Stream&) = delete;
  ~Stream() { cudaStreamDestroy(stream_); }

  cudaStream_t get() const { return stream_; }
  void Wait() const { CheckCuda(cudaStreamSynchronize(stream_), "waiting for a step"); }

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  Event() { CheckCuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "an event"); }
  Event(const Event&) = delete;
  ~Event() { cudaEventDestroy(event_); }

  void Record(cudaStream_t stream) { CheckCuda(cudaEventRecord(event_, stream), "an event"); }
  // Returns at once where nothing was recorded.
  void Wait() const { CheckCuda(cudaEventSynchronize(event_), "waiting for an event"); }

 private:
  cudaEvent_t event_ = nullptr;
};

template <typename T>
class PinnedArray {
 public:
  PinnedArray() = default;
  explicit PinnedArray(int64_t size) : size_(size) {
    CheckCuda(cudaMallocHost(&memory_, size * sizeof(T) + 1), "pinned memory");
  }
  PinnedArray(PinnedArray&& other) noexcept { *this = std::move(other); }
  PinnedArray& operator=(PinnedArray&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~PinnedArray() { cudaFreeHost(memory_); }

  T* get() const { return static_cast<T*>(memory_); }
  int64_t size() const { return size_; }

 private:
  void* memory_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace headlong::cuda
