// Sums between the GPUs of one machine through each other's memory (kernels/push_sum_cuda.h): each
// process opens the slots of all others (CUDA IPC; within a process plain pointers). One per epoch,
// used by the step thread. Sums are only enqueued.
#pragma once

#include <cuda_runtime_api.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/collective.h"
#include "worker/kernels/cuda_handles.h"
#include "worker/kernels/push_sum_cuda.h"

namespace headlong {

struct PushOptions {
  int rank = 0;
  int world = 1;
  bool wanted = true;  // false: this rank refuses, so that all do
  std::chrono::milliseconds connect_timeout{20000};
  cudaStream_t stream = nullptr;
};

class PushSums {
 public:
  // Every rank calls it; all get the sums, or all FAILED_PRECONDITION with who refuses and why.
  static absl::StatusOr<std::unique_ptr<PushSums>> Connect(const PushOptions& options,
                                                           Rendezvous& rendezvous);
  // Ends what runs. The others must not be summing with this rank any more.
  ~PushSums();
  PushSums(const PushSums&) = delete;

  bool Takes(int64_t count) const { return count <= cuda::kMaxPushFloats; }
  // REQUIRES: Takes(count).
  void Sum(float* x, int64_t count);
  // Kernels that wait for a rank end without a result, also those to come.
  void Abandon();

 private:
  explicit PushSums(const PushOptions& options);
  absl::Status TakeSlots();
  absl::Status Open(int rank, const std::string& text);

  const PushOptions options_;
  cuda::PushSum sum_;
  cuda::DeviceArray<float> slots_;
  cuda::DeviceArray<unsigned> turns_;
  cuda::PinnedArray<int> abandoned_;
  std::vector<void*> opened_;  // memory of other processes
};

}  // namespace headlong
