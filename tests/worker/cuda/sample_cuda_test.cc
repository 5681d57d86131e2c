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

// One launch of two clusters of blocks: what a sanitizer comes to an end with.
TEST_F(SampleCuda, TwoShortRowsAsOnTheCpu) {
  const std::vector<int> columns = {60, 40};  // of a row's parts
  std::mt19937_64 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> first(100), second(100), logits;
  for (float& logit : first) logit = normal(random);
  for (float& logit : second) logit = normal(random);
  for (const auto& [begin, end] : {std::pair(0, 60), std::pair(60, 100)}) {
    logits.insert(logits.end(), first.begin() + begin, first.begin() + end);
    logits.insert(logits.end(), second.begin() + begin, second.begin() + end);
  }
  v1::SamplingParams params;
  params.set_temperature(0.9f);
  params.set_top_k(30);
  params.set_top_p(0.8f);
  params.set_min_p(0.05f);
  params.set_seed(11);
  const std::vector<TokenDraw> draws = {DrawOf(params, 0), DrawOf(params, 1)};
  EXPECT_EQ(DrawOnGpu(logits, columns, draws),
            (std::vector<uint32_t>{static_cast<uint32_t>(DrawToken(first, draws[0])),
                                   static_cast<uint32_t>(DrawToken(second, draws[1]))}));
}

// Every parameter at once on rows as large as vocabularies get, against the CPU twin.
TEST_F(SampleCuda, LargeVocabulariesAsOnTheCpu) {
  for (const int columns : {128256, 262208, cuda::MostSampledColumns()}) {
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
