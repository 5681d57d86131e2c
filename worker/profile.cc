#include "worker/profile.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <string>
#include <vector>

#include "worker/kernels/matmul_cpu.h"
#include "worker/read_memory.h"

namespace headlong {
namespace {

constexpr int64_t kReadFloats = int64_t{16} << 20;  // 64 MiB: above the last-level cache of most
constexpr int kReadColumns = 4096;
constexpr int kMatrixSize = 1024;
constexpr int kMatrixRows = 512;
constexpr int kTrials = 3;

template <typename Work>
double BestSeconds(Work work) {
  double best = 1e30;
  for (int trial = 0; trial < kTrials; ++trial) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    best = std::min(best, taken.count());
  }
  return best;
}

double ReadBytesPerSecond(const float* memory) {
  const int threads = omp_get_max_threads();
  const int64_t share = kReadFloats / threads;
  volatile float sink = 0;
  const double seconds = BestSeconds([&] {
    float sum = 0;
#pragma omp parallel for reduction(+ : sum) schedule(static)
    for (int t = 0; t < threads; ++t) sum += ReadAndSum(memory + t * share, share);
    sink = sum;
  });
  return static_cast<double>(share * threads) * sizeof(float) / seconds;
}

// Of a product with `rows` rows; 0 where the matrix cannot be made.
double MatMulFlops(const float* weights, int outputs, int inputs, int rows) {
  auto matrix = cpu::PackedMatrix::Create(weights, outputs, inputs, cpu::MatMulType::kFloat32);
  if (!matrix.ok()) return 0;
  const std::vector<float> x(int64_t{rows} * inputs, 1.0f);
  std::vector<float> y(int64_t{rows} * outputs);
  const double seconds = BestSeconds([&] { matrix->Run(x.data(), rows, y.data()); });
  return 2.0 * rows * outputs * inputs / seconds;
}

}  // namespace

WorkerProfile MeasureProfile() {
  const std::vector<float> memory(kReadFloats, 0.1f);  // no bf16 number: kept in fp32
  WorkerProfile profile;
  profile.read_bytes_per_s = ReadBytesPerSecond(memory.data());
  profile.matmul_flops = MatMulFlops(memory.data(), kMatrixSize, kMatrixSize, kMatrixRows);
  profile.matmul_flops_one_row =
      MatMulFlops(memory.data(), static_cast<int>(kReadFloats / kReadColumns), kReadColumns, 1);
  return profile;
}

int64_t AvailableMemory() {
  std::ifstream meminfo("/proc/meminfo");
  std::string key;
  int64_t kilobytes = 0;
  std::string unit;
  while (meminfo >> key >> kilobytes >> unit) {
    if (key == "MemAvailable:") return kilobytes * 1024;
    if (unit != "kB") std::getline(meminfo, unit);
  }
  return 0;
}

int64_t DefaultMemoryLimit() { return AvailableMemory() / 2; }

}  // namespace headlong
