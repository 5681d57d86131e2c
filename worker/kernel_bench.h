// Rates of a backend's kernels beside what the machine can do at most, measured in the same run:
// `headlong bench kernels`. Runs on the calling thread and OpenMP's; a busy machine disturbs it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace headlong {

struct Ceilings {
  double bytes_per_second = 0;  // reading memory far larger than the caches
  double flops_per_second = 0;  // a library's product of matrices: oneDNN in fp32, cuBLASLt in bf16
};

struct KernelRate {
  std::string operation;  // "decode attention"
  std::string shape;
  double bytes = 0;    // that must be read or written
  double flops = 0;    // both 0: nothing of which this machine has a ceiling
  double seconds = 0;  // median of one call
};

struct KernelReport {
  std::string device;          // for people: "cpu avx2, 2 threads", "cuda:0 NVIDIA H200"
  std::string matmul_ceiling;  // what makes the product that is a ceiling
  Ceilings ceilings;
  std::vector<KernelRate> rates;
};

// Pure: the time the ceilings allow over the time taken (the roofline model, Williams et al. 2009).
// Above 1 where the data came from a cache.
double ShareOfCeiling(const KernelRate& rate, const Ceilings& ceilings);

// Pure: whether the ceiling of memory is the nearer one.
bool IsMemoryBound(const KernelRate& rate, const Ceilings& ceilings);

// Told before each measurement what is next; false ends the run.
using KernelProgress = std::function<bool(size_t done, size_t total, const std::string& operation)>;

// CANCELLED when `progress` says so; RESOURCE_EXHAUSTED when memory for the data is missing.
absl::StatusOr<KernelReport> BenchKernelsCpu(const KernelProgress& progress);

// On a GPU, kernels in CUDA graphs; `gpu` as ChooseDevice takes it. Sums between GPUs where there
// are two.
absl::StatusOr<KernelReport> BenchKernelsCuda(int gpu, const KernelProgress& progress);

// Reading memory alone, bytes per second: the ceiling of both. `gpu`: as the CUDA runtime counts.
absl::StatusOr<double> ReadRateCpu();
absl::StatusOr<double> ReadRateCuda(int gpu);

}  // namespace headlong
