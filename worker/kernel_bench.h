// Rates of a backend's kernels beside what the machine can do at most, measured in the same run:
// `headlong bench kernels`. Runs on the calling thread and OpenMP's; a busy machine disturbs it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace headlong {

struct Ceilings {
  double bytes_per_second = 0;  // reading memory far larger than the caches, all threads
  double flops_per_second = 0;  // oneDNN, fp32, 512 x 1024 by 1024 x 1024, all threads
};

struct KernelRate {
  std::string operation;  // "decode attention"
  std::string shape;
  double bytes = 0;  // that must be read or written
  double flops = 0;
  double seconds = 0;  // median of one call
};

struct KernelReport {
  std::string instruction_set;
  int threads = 0;
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

}  // namespace headlong
