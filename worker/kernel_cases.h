// What `bench kernels` measures on the CPU.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace headlong::cpu {

// One measurement. `run` owns its data and computes once.
struct KernelCase {
  double bytes = 0;
  double flops = 0;
  std::function<void()> run;
};

// Makes the data of a case only when its turn comes: some fill a quarter of a GiB.
struct KernelCaseMaker {
  std::string operation;
  std::string shape;
  std::function<absl::StatusOr<KernelCase>()> make;
};

KernelCaseMaker ReadMemoryCase(int threads);
// Products of packed weights, in cache where all of it fits there, else from memory.
KernelCaseMaker MatMulCase(int rows, int outputs, int inputs);
std::vector<KernelCaseMaker> AttentionCases(int threads);
std::vector<KernelCaseMaker> ElementwiseCases();

}  // namespace headlong::cpu
