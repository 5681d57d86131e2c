// Split heads on CPUs: the owners' parts, combined, are the unsplit head to rounding.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/worker/stripe_case.h"
#include "worker/attention_cpu.h"

namespace headlong {
namespace {

constexpr double kTolerance = 1e-5;

class OnCpu final : public StripeDevice {
 public:
  OnCpu(const AttentionShape& shape, const CacheShape& cache)
      : out_columns_(static_cast<int64_t>(shape.heads[0].size()) * shape.group * shape.head_dim),
        group_(shape.group),
        parts_(shape.stripes[0].parts) {
    auto attention = AttentionCpu::Create(shape, cache);
    EXPECT_TRUE(attention.ok()) << attention.status();
    attention_ = *std::move(attention);
  }
  void BeginBatch(const Batch& batch, const LaneTables& tables) override {
    attention_->BeginBatch(batch, tables);
  }
  std::vector<float> Run(const std::vector<float>& qkv, int rows) override {
    out_.assign(rows * out_columns_, std::numeric_limits<float>::quiet_NaN());
    attention_->Run(0, qkv.data(), out_.data());
    return out_;
  }
  std::vector<float> LogSums(int rows) override {
    std::vector<float> parts(int64_t{parts_} * rows * group_,
                             std::numeric_limits<float>::quiet_NaN());
    cpu::WriteLogSums(attention_->Stripes(0, rows), parts.data());
    return parts;
  }
  std::vector<float> Scaled(const std::vector<float>& parts, int rows) override {
    cpu::ScaleStripes(attention_->Stripes(0, rows), parts.data(), out_.data());
    return out_;
  }

 private:
  const int64_t out_columns_;
  const int group_, parts_;
  std::unique_ptr<AttentionCpu> attention_;
  std::vector<float> out_;
};

std::unique_ptr<StripeDevice> Make(const AttentionShape& shape, const CacheShape& cache) {
  return std::make_unique<OnCpu>(shape, cache);
}

class AttentionStripes : public ::testing::TestWithParam<Storage> {};

TEST_P(AttentionStripes, RandomRangesChunksAndBatchesEqualTheUnsplitHead) {
  const StripeResult worst = WorstOfRandomCases(GetParam(), {64, 16, 16}, Make);
  RecordProperty("largest_difference", std::to_string(worst.difference));
  EXPECT_LE(worst.difference, kTolerance) << worst.of;
}

TEST_P(AttentionStripes, SevenTwoOne) {
  EXPECT_LE(SevenTwoOneDifference(GetParam(), Make), kTolerance);
}

INSTANTIATE_TEST_SUITE_P(Storages, AttentionStripes,
                         ::testing::Values(Storage::kFloat32, Storage::kBfloat16,
                                           Storage::kFloat16),
                         [](const auto& param) { return std::string(StorageName(param.param)); });

TEST(ScaleStripes, APartThatSawNothingCountsForNothing) {
  const float nothing = -std::numeric_limits<float>::infinity();
  const StripePart own{0, 1, 0, 3};
  const std::vector<float> lse = {nothing, 1};  // [row]
  StripeRows stripes;
  stripes.own = &own;
  stripes.own_count = 1;
  stripes.parts = 3;
  stripes.rows = 2;
  stripes.heads = 1;
  stripes.head_dim = 1;
  stripes.lse = lse.data();
  stripes.row_stride = 1;
  std::vector<float> parts(6, 9);
  cpu::WriteLogSums(stripes, parts.data());
  EXPECT_EQ(parts, (std::vector<float>{0, 0, nothing, 1, 0, 0}));
  parts = {200, 1, nothing, 1, 200, nothing};
  std::vector<float> out = {5, 6};
  cpu::ScaleStripes(stripes, parts.data(), out.data());
  EXPECT_EQ(out, (std::vector<float>{0, 3}));
}

}  // namespace
}  // namespace headlong
