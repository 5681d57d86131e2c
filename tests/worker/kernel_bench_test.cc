#include "worker/kernel_bench.h"

#include <gtest/gtest.h>

namespace headlong {
namespace {

constexpr Ceilings kCeilings{.bytes_per_second = 10, .flops_per_second = 100};

TEST(KernelBenchTest, MemoryBound) {
  const KernelRate rate{"copy", "", /*bytes=*/20, /*flops=*/100, /*seconds=*/4};
  EXPECT_TRUE(IsMemoryBound(rate, kCeilings));
  EXPECT_DOUBLE_EQ(ShareOfCeiling(rate, kCeilings), 0.5);
}

TEST(KernelBenchTest, ComputeBound) {
  const KernelRate rate{"product", "", /*bytes=*/20, /*flops=*/800, /*seconds=*/10};
  EXPECT_FALSE(IsMemoryBound(rate, kCeilings));
  EXPECT_DOUBLE_EQ(ShareOfCeiling(rate, kCeilings), 0.8);
}

TEST(KernelBenchTest, StopsWhenTold) {
  const auto report = BenchKernelsCpu([](size_t, size_t, const std::string&) { return false; });
  EXPECT_EQ(report.status().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace headlong
