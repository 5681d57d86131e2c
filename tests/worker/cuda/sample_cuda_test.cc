// Tokens drawn on a GPU, by the bodies of the CPU's test. Skipped, with a word, where there is
// none.
#include "worker/kernels/sample_cuda.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "tests/worker/sample_case.h"
#include "worker/kernels/device_array.h"
#include "worker/sampler.h"

namespace headlong {
namespace {

std::vector<uint32_t> DrawOnGpu(const std::vector<float>& logits, const std::vector<int>& columns,
                                const std::vector<TokenDraw>& draws) {
  const cuda::DeviceArray<float> from(logits);
  const cuda::DeviceArray<TokenDraw> how(draws);
  cuda::DeviceArray<float> out(std::ssize(draws));
  out.FillBytes(0xff);
  cuda::SampleTokensCall call;
  call.logits = from.get();
  call.parts = static_cast<int>(columns.size());
  std::partial_sum(columns.begin(), columns.end(), call.first_columns + 1);
  call.rows = static_cast<int>(draws.size());
  call.draws = how.get();
  call.out = out.get();
  cuda::SampleTokens(call, nullptr);
  cuda::CheckCuda(cudaDeviceSynchronize(), "drawing tokens");
  const std::vector<float> tokens = out.Read();
  return {tokens.begin(), tokens.end()};
}

class SampleCuda : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!cuda::HasDevice()) GTEST_SKIP() << "no CUDA device: GPU kernels are compiled, not run";
  }
};

TEST_F(SampleCuda, TokensOfRandomRows) { ExpectTokensOfRandomRows(DrawOnGpu); }
TEST_F(SampleCuda, TokensOfEdgeCases) { ExpectTokensOfEdgeCases(DrawOnGpu); }
TEST_F(SampleCuda, FrequenciesAreExact) { ExpectExactFrequencies(DrawOnGpu); }

// Every parameter at once on rows as large as vocabularies get, against the CPU twin.
TEST_F(SampleCuda, LargeVocabulariesAsOnTheCpu) {
  for (const int columns : {128256, 262208, cuda::kMostSampledColumns}) {
    constexpr int kRows = 12;
    std::mt19937_64 random(columns);
    std::normal_distribution<float> normal(0, 2);
    std::vector<float> logits(int64_t{kRows} * columns);
    for (float& logit : logits) logit = normal(random);
    std::vector<TokenDraw> draws;
    for (int row = 0; row < kRows; ++row) {
      v1::SamplingParams params;
      params.set_temperature(row == 0 ? 0 : 0.8f);
      params.set_top_p(row % 2 == 0 ? 0.95f : 1);
      params.set_top_k(row % 3 == 0 ? 40 : 0);
      params.set_min_p(row % 4 == 0 ? 0.02f : 0);
      params.set_seed(random());
      draws.push_back(DrawOf(params, row));
    }
    const std::vector<uint32_t> drawn = DrawOnGpu(logits, {columns}, draws);
    for (int row = 0; row < kRows; ++row) {
      EXPECT_EQ(drawn[row],
                DrawToken(std::span(&logits[int64_t{row} * columns], columns), draws[row]))
          << columns << " columns, row " << row;
    }
  }
}

}  // namespace
}  // namespace headlong
