// What `bench kernels` measures on a GPU. Device memory is taken when a case is made and given back
// with it.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/kernel_bench.h"
#include "worker/kernels/device_array.h"

namespace headlong::cuda {

// Random numbers, far more than caches hold: what kernels read, each call another part.
struct BenchMemory {
  DeviceArray<std::byte> memory;
  int multiprocessors = 0;
  cudaStream_t stream = nullptr;
};

// One measurement: `calls` launches in one graph.
struct KernelCase {
  double bytes = 0;  // of one call
  double flops = 0;
  int calls = 1;
  std::function<void(int call)> run;  // enqueues on the stream of the memory; owns its data
};

struct KernelCaseMaker {
  std::string operation;
  std::string shape;
  std::function<absl::StatusOr<KernelCase>()> make;
};

inline constexpr int kMostCalls = 32;

// Calls that read far more than caches hold, each `bytes` of its own.
inline int CallsFor(double bytes) {
  constexpr auto kFarAboveCaches = static_cast<double>(int64_t{4} << 30);
  return static_cast<int>(std::clamp(kFarAboveCaches / bytes, 1.0, double{kMostCalls}));
}

// Median of one call, in seconds, over replays of a graph.
double GraphSeconds(const KernelCase& one, cudaStream_t stream);

KernelCaseMaker ReadMemoryCase(const BenchMemory& memory, int blocks_per_multiprocessor);
std::vector<KernelCaseMaker> ProductCases(const BenchMemory& memory);
KernelCaseMaker MatMulCase(const BenchMemory& memory, int rows, int outputs, int inputs);
std::vector<KernelCaseMaker> DecodeCases(const BenchMemory& memory);
std::vector<KernelCaseMaker> ElementwiseCases(const BenchMemory& memory);
// Whole layers of attention: rotation, caches, sums, attention.
std::vector<KernelCaseMaker> LayerCases(const BenchMemory& memory);

// Sums between two GPUs, each by a thread of its own; none where there is one GPU.
absl::StatusOr<std::vector<KernelRate>> MeasureSums();

}  // namespace headlong::cuda
