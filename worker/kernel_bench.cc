#include "worker/kernel_bench.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "worker/kernel_cases.h"
#include "worker/kernels/attention_cpu.h"

namespace headlong {
namespace {

using std::chrono::duration;
using std::chrono::steady_clock;

constexpr double kLeastBatchSeconds = 0.02;  // far above the clock's resolution
constexpr int kBatches = 7;

double SecondsOf(const std::function<void()>& run, int64_t calls) {
  const auto begin = steady_clock::now();
  for (int64_t i = 0; i < calls; ++i) run();
  return duration<double>(steady_clock::now() - begin).count();
}

// Median over batches of calls long enough to be timed.
double MedianSeconds(const std::function<void()>& run) {
  run();
  int64_t calls = 1;
  while (SecondsOf(run, calls) < kLeastBatchSeconds) calls *= 2;
  std::array<double, kBatches> seconds;
  for (double& batch : seconds) batch = SecondsOf(run, calls) / static_cast<double>(calls);
  std::nth_element(seconds.begin(), seconds.begin() + kBatches / 2, seconds.end());
  return seconds[kBatches / 2];
}

absl::StatusOr<KernelRate> Measure(const cpu::KernelCaseMaker& maker) {
  ASSIGN_OR_RETURN(const cpu::KernelCase one, maker.make());
  return KernelRate{maker.operation, maker.shape, one.bytes, one.flops, MedianSeconds(one.run)};
}

// The first two are the ceilings.
std::vector<cpu::KernelCaseMaker> AllCases(int threads) {
  std::vector<cpu::KernelCaseMaker> cases{cpu::ReadMemoryCase(threads),
                                          cpu::MatMulCase(512, 1024, 1024)};
  const auto append = [&](std::vector<cpu::KernelCaseMaker> more) {
    std::move(more.begin(), more.end(), std::back_inserter(cases));
  };
  append(cpu::AttentionCases(threads));
  for (const int rows : {1, 4, 16, 512}) cases.push_back(cpu::MatMulCase(rows, 1024, 256));
  for (const int rows : {1, 2, 4, 8, 16, 32, 64, 512}) {
    cases.push_back(cpu::MatMulCase(rows, 2048, 2048));
  }
  append(cpu::ElementwiseCases());
  return cases;
}

}  // namespace

double ShareOfCeiling(const KernelRate& rate, const Ceilings& ceilings) {
  return std::max(rate.bytes / ceilings.bytes_per_second, rate.flops / ceilings.flops_per_second) /
         rate.seconds;
}

bool IsMemoryBound(const KernelRate& rate, const Ceilings& ceilings) {
  return rate.bytes / ceilings.bytes_per_second >= rate.flops / ceilings.flops_per_second;
}

absl::StatusOr<double> ReadRateCpu() {
  ASSIGN_OR_RETURN(const KernelRate read, Measure(cpu::ReadMemoryCase(omp_get_max_threads())));
  return read.bytes / read.seconds;
}

absl::StatusOr<KernelReport> BenchKernelsCpu(const KernelProgress& progress) {
  KernelReport report;
  const int threads = omp_get_max_threads();
  report.device = absl::StrCat("cpu ", cpu::AttentionIsa(), ", ", threads, " threads");
  report.matmul_ceiling = "oneDNN in fp32";
  const std::vector<cpu::KernelCaseMaker> cases = AllCases(threads);
  for (size_t i = 0; i < cases.size(); ++i) {
    if (!progress(i, cases.size(), absl::StrCat(cases[i].operation, ", ", cases[i].shape))) {
      return absl::CancelledError("interrupted");
    }
    ASSIGN_OR_RETURN(KernelRate rate, Measure(cases[i]));
    report.rates.push_back(std::move(rate));
  }
  const KernelRate& read = report.rates[0];
  const KernelRate& product = report.rates[1];
  report.ceilings = {read.bytes / read.seconds, product.flops / product.seconds};
  return report;
}

}  // namespace headlong
