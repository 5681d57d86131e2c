#include "cache/slab_cpu.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headlong {
namespace {

TEST(SlabCpuTest, LaysOutPagesThenLanesThenKeysAndValues) {
  auto slab = SlabCpu::Create({.pages = 5,
                               .lanes = 3,
                               .page_tokens = 16,
                               .format = PlainFormat(Storage::kBfloat16, 24),
                               .sum_slots = 2});
  ASSERT_TRUE(slab.ok()) << slab.status();
  constexpr int64_t kHalf = 16 * 24 * 2;
  std::byte* first = slab->keys(0, 0).codes;
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % 64, 0u);
  EXPECT_EQ(slab->values(0, 0).codes - first, kHalf);
  EXPECT_EQ(slab->keys(0, 1).codes - first, 2 * kHalf);
  EXPECT_EQ(slab->keys(1, 0).codes - first, 6 * kHalf);
  EXPECT_EQ(slab->sums(0, 1) - slab->sums(0, 0), 48);
  EXPECT_EQ(slab->sums(1, 0) - slab->sums(0, 0), 3 * 48);
  EXPECT_EQ(slab->bytes(), 5 * 3 * 2 * kHalf + 2 * 3 * 48 * 4);
  std::fill_n(first, 5 * 3 * 2 * kHalf, std::byte{1});  // a sanitizer sees what is too small
}

TEST(SlabCpuTest, ResetsOneSlot) {
  auto slab = SlabCpu::Create({.pages = 1,
                               .lanes = 2,
                               .page_tokens = 16,
                               .format = PlainFormat(Storage::kFloat32, 8),
                               .sum_slots = 2});
  ASSERT_TRUE(slab.ok()) << slab.status();
  EXPECT_EQ(slab->sums(1, 1)[15], 0.0f) << "sums begin at zero";
  std::fill_n(slab->sums(0, 0), 2 * 2 * 16, 1.0f);
  slab->ResetSums(0);
  EXPECT_EQ(slab->sums(0, 0)[0], 0.0f);
  EXPECT_EQ(slab->sums(0, 1)[15], 0.0f);
  EXPECT_EQ(slab->sums(1, 0)[0], 1.0f);
}

TEST(SlabCpuTest, MayBeEmpty) {
  auto slab = SlabCpu::Create(
      {.pages = 0, .lanes = 2, .page_tokens = 64, .format = PlainFormat(Storage::kFloat32, 8)});
  ASSERT_TRUE(slab.ok()) << slab.status();
  EXPECT_EQ(slab->bytes(), 0);
}

TEST(SlabCpuTest, LargeSlabsAreTakenUntouched) {
  auto slab = SlabCpu::Create({.pages = 1 << 16,
                               .lanes = 8,
                               .page_tokens = 16,
                               .format = PlainFormat(Storage::kFloat32, 64)});
  ASSERT_TRUE(slab.ok()) << slab.status();
  EXPECT_EQ(slab->bytes(), int64_t{4} << 30);
  slab->values((1 << 16) - 1, 7).codes[16 * 64 * 4 - 1] = std::byte{1};
}

TEST(SlabCpuTest, ImpossibleSizesAreRefusedWithTheirBytes) {
  const auto refused = SlabCpu::Create({.pages = 1 << 30,
                                        .lanes = 1 << 10,
                                        .page_tokens = 64,
                                        .format = PlainFormat(Storage::kFloat32, 128),
                                        .sum_slots = 1});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.status().message()),
              testing::HasSubstr("cache: 72057594037927936 bytes for 1073741824 pages and"));
  constexpr int kMost = std::numeric_limits<int>::max();
  const auto overflown = SlabCpu::Create({.pages = kMost,
                                          .lanes = kMost,
                                          .page_tokens = kMost,
                                          .format = PlainFormat(Storage::kFloat32, kMost),
                                          .sum_slots = kMost});
  EXPECT_EQ(overflown.status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace headlong
