// Split heads on a GPU, by the body of the CPU's test. Skipped, with a word, where there is none.
#include <gtest/gtest.h>

#include "tests/worker/stripe_case.h"
#include "worker/attention_cuda.h"
#include "worker/kernels/device_array.h"

namespace headlong {
namespace {

// 16-bit caches have their queries and weights rounded, too.
double Tolerance(Storage storage) {
  return storage == Storage::kFloat32 ? 1e-5 : storage == Storage::kFloat16 ? 2e-3 : 1.2e-2;
}

class OnGpu final : public StripeDevice {
 public:
  OnGpu(const AttentionShape& shape, const CacheShape& cache)
      : out_columns_(static_cast<int64_t>(shape.heads[0].size()) * shape.group * shape.head_dim),
        group_(shape.group),
        parts_(shape.stripes[0].parts) {
    auto attention = AttentionCuda::Create(shape, cache, nullptr);
    EXPECT_TRUE(attention.ok()) << attention.status();
    attention_ = *std::move(attention);
  }
  void BeginBatch(const Batch& batch, const LaneTables& tables) override {
    attention_->BeginBatch(batch, tables, /*rows=*/0);
    attention_->Prepare();
  }
  std::vector<float> Run(const std::vector<float>& qkv, int rows) override {
    out_ = cuda::DeviceArray<float>(rows * out_columns_);
    if (out_columns_ == 0) return {};
    out_.FillBytes(0xff);
    cuda::DeviceArray<float> from(qkv);
    attention_->Run(0, from.get(), out_.get());
    return Read(out_);
  }
  std::vector<float> LogSums(int rows) override {
    if (parts_ == 0) return {};
    cuda::DeviceArray<float> parts(int64_t{parts_} * rows * group_);
    parts.FillBytes(0xff);
    cuda::WriteLogSums(attention_->Stripes(0, rows), parts.get(), nullptr);
    return Read(parts);
  }
  std::vector<float> Scaled(const std::vector<float>& parts, int rows) override {
    if (out_columns_ == 0) return {};
    if (parts_ > 0) {
      const cuda::DeviceArray<float> from(parts);
      cuda::ScaleStripes(attention_->Stripes(0, rows), from.get(), out_.get(), nullptr);
    }
    return Read(out_);
  }

 private:
  static std::vector<float> Read(const cuda::DeviceArray<float>& array) {
    cuda::CheckCuda(cudaDeviceSynchronize(), "attention of stripes");
    return array.Read();
  }

  const int64_t out_columns_;
  const int group_, parts_;
  std::unique_ptr<AttentionCuda> attention_;
  cuda::DeviceArray<float> out_;
};

std::unique_ptr<StripeDevice> Make(const AttentionShape& shape, const CacheShape& cache) {
  return std::make_unique<OnGpu>(shape, cache);
}

class StripesCuda : public ::testing::TestWithParam<Storage> {
 protected:
  void SetUp() override {
    if (!cuda::HasDevice()) GTEST_SKIP() << "no CUDA device: GPU kernels are compiled, not run";
  }
};

TEST_P(StripesCuda, RandomRangesChunksAndBatchesEqualTheUnsplitHead) {
  const StripeResult worst = WorstOfRandomCases(GetParam(), {64, 80, 96, 128, 256}, Make);
  RecordProperty("largest_difference", std::to_string(worst.difference));
  EXPECT_LE(worst.difference, Tolerance(GetParam())) << worst.of;
}

TEST_P(StripesCuda, SevenTwoOne) {
  EXPECT_LE(SevenTwoOneDifference(GetParam(), Make), Tolerance(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Storages, StripesCuda,
                         ::testing::Values(Storage::kFloat32, Storage::kBfloat16,
                                           Storage::kFloat16),
                         [](const auto& param) { return std::string(StorageName(param.param)); });

}  // namespace
}  // namespace headlong
