#include "worker/profile.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <string>
#include <vector>

#include "worker/kernels/matmul_cpu.h"

namespace headlong {
namespace {

constexpr int64_t kReadFloats = int64_t{16} << 20;  // 64 MiB: above the last-level cache of most
constexpr int kMatrixSize = 1024;
constexpr int kMatrixRows = 128;
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

double ReadBytesPerSecond() {
  const std::vector<float> memory(kReadFloats, 1.0f);
  volatile float sink = 0;
  const double seconds = BestSeconds([&] {
    float sum = 0;
#pragma omp parallel for simd reduction(+ : sum) schedule(static)
    for (int64_t i = 0; i < kReadFloats; ++i) sum += memory[i];
    sink = sum;
  });
  return static_cast<double>(kReadFloats) * sizeof(float) / seconds;
}

double MatMulFlops() {
  const std::vector<float> weights(int64_t{kMatrixSize} * kMatrixSize, 0.5f);
  auto matrix = cpu::PackedMatrix::Create(weights.data(), kMatrixSize, kMatrixSize,
                                          cpu::MatMulType::kFloat32);
  if (!matrix.ok()) return 0;
  const std::vector<float> x(int64_t{kMatrixRows} * kMatrixSize, 1.0f);
  std::vector<float> y(x.size());
  const double seconds = BestSeconds([&] { matrix->Run(x.data(), kMatrixRows, y.data()); });
  return 2.0 * kMatrixRows * kMatrixSize * kMatrixSize / seconds;
}

}  // namespace

WorkerProfile MeasureProfile() { return {ReadBytesPerSecond(), MatMulFlops()}; }

int64_t DefaultMemoryLimit() {
  std::ifstream meminfo("/proc/meminfo");
  std::string key;
  int64_t kilobytes = 0;
  std::string unit;
  while (meminfo >> key >> kilobytes >> unit) {
    if (key == "MemAvailable:") return kilobytes * 1024 / 2;
    if (unit != "kB") std::getline(meminfo, unit);
  }
  return 0;
}

}  // namespace headlong
