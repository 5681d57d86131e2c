// Values on their way to the GPU: gathered in pinned memory of the host and sent with one copy.
// One owner; what was put is on the device once the stream has passed Send.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>

#include "common/status.h"
#include "worker/kernels/device_array.h"

namespace headlong {

inline constexpr int64_t kDeviceAlignment = 256;

inline constexpr int64_t DeviceAligned(int64_t bytes) {
  return (bytes + kDeviceAlignment - 1) / kDeviceAlignment * kDeviceAlignment;
}

class Upload {
 public:
  Upload() = default;
  Upload(const Upload&) = delete;
  Upload& operator=(const Upload&) = delete;
  ~Upload() {
    if (sent_ != nullptr) cudaEventDestroy(sent_);
    cudaFreeHost(host_);
  }

  // `device`: room for `capacity` bytes. RESOURCE_EXHAUSTED without pinned memory.
  absl::Status Take(std::byte* device, int64_t capacity) {
    device_ = device;
    capacity_ = capacity;
    void* host = nullptr;
    if (cudaMallocHost(&host, capacity) != cudaSuccess) {
      cudaGetLastError();  // it is told here, and by no later call
      return absl::ResourceExhaustedError(
          absl::StrCat("no pinned memory for ", capacity, " bytes of work lists"));
    }
    host_ = static_cast<std::byte*>(host);
    cuda::CheckCuda(cudaEventCreateWithFlags(&sent_, cudaEventDisableTiming), "an event");
    return absl::OkStatus();
  }

  // Waits until what was sent before has left the host.
  void Begin() {
    cuda::CheckCuda(cudaEventSynchronize(sent_), "waiting for an upload");
    used_ = 0;
  }

  // Room for `count` values, to be filled until Send. More than the capacity ends the process.
  template <typename T>
  struct Room {
    T* host = nullptr;
    const T* device = nullptr;
  };
  template <typename T>
  Room<T> Reserve(int64_t count) {
    const int64_t begin = used_;
    used_ += DeviceAligned(count * static_cast<int64_t>(sizeof(T)));
    if (used_ > capacity_) std::abort();  // the bounds of the lists are wrong
    return {reinterpret_cast<T*>(host_ + begin), reinterpret_cast<const T*>(device_ + begin)};
  }

  // Where the values will be on the device.
  template <typename T>
  const T* Put(std::span<const T> values) {
    const Room<T> room = Reserve<T>(std::ssize(values));
    if (!values.empty()) std::memcpy(room.host, values.data(), values.size_bytes());
    return room.device;
  }

  void Send(cudaStream_t stream) {
    cuda::CheckCuda(cudaMemcpyAsync(device_, host_, used_, cudaMemcpyHostToDevice, stream),
                    "sending work lists");
    cuda::CheckCuda(cudaEventRecord(sent_, stream), "recording an upload");
  }

 private:
  std::byte* host_ = nullptr;
  std::byte* device_ = nullptr;
  cudaEvent_t sent_ = nullptr;
  int64_t capacity_ = 0, used_ = 0;
};

}  // namespace headlong
