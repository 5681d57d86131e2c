#include "worker/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "tests/worker/sample_case.h"
#include "worker/collective.h"
#include "worker/philox.h"

namespace headlong {
namespace {

v1::SamplingParams Params(float temperature, float top_p = 1, int top_k = 0, float min_p = 0) {
  v1::SamplingParams params;
  params.set_temperature(temperature);
  params.set_top_p(top_p);
  params.set_top_k(top_k);
  params.set_min_p(min_p);
  params.set_seed(42);
  return params;
}

// Known answers of the Random123 library's test vectors for philox4x32-10.
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, 0),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, 0xffffffffffffffff),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822),
            (std::array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, DrawsAreEvenAndTheirOwn) {
  double sum = 0;
  for (int i = 0; i < 100000; ++i) {
    const uint64_t bits = RandomAt(7, i, 0);
    ASSERT_NE(bits, RandomAt(7, i, 1));
    sum += static_cast<double>(bits) * 0x1p-64;
  }
  EXPECT_NEAR(sum / 100000, 0.5, 0.005);
}

TEST(TokenWeight, IsAPowerOfTwoToTheLastBitsOfAFloat) {
  EXPECT_EQ(TokenWeight(5, 5, 1), kLargestWeight);
  EXPECT_EQ(TokenWeight(5, 4, 1), kLargestWeight / 2);
  EXPECT_EQ(TokenWeight(5, -35, 1), 1u);
  EXPECT_EQ(TokenWeight(5, -36, 1), 0u);
  EXPECT_EQ(TokenWeight(5, -std::numeric_limits<float>::infinity(), 1), 0u);
  EXPECT_EQ(TokenWeight(0, std::numeric_limits<float>::quiet_NaN(), 1), 0u);
  uint64_t last = kLargestWeight;
  for (int i = 0; i <= 2000000; ++i) {
    const float below = static_cast<float>(i) / 100000;
    const uint64_t weight = TokenWeight(0, -below, 1);
    const double exact = std::exp2(40 - double{below});
    ASSERT_NEAR(static_cast<double>(weight), exact, 3e-7 * exact + 1) << below;
    ASSERT_LE(weight, last) << below;
    last = weight;
  }
}

std::vector<uint32_t> DrawOnCpu(const std::vector<float>& logits, const std::vector<int>& columns,
                                const std::vector<TokenDraw>& draws) {
  std::vector<float> rows;
  PlaceParts(logits.data(), columns, static_cast<int>(draws.size()), static_cast<int>(draws.size()),
             rows);
  const size_t width = rows.size() / draws.size();
  std::vector<uint32_t> tokens;
  for (size_t row = 0; row < draws.size(); ++row) {
    tokens.push_back(DrawToken(std::span(&rows[row * width], width), draws[row]));
  }
  return tokens;
}

TEST(Sampler, TokensOfRandomRows) { ExpectTokensOfRandomRows(DrawOnCpu); }
TEST(Sampler, TokensOfEdgeCases) { ExpectTokensOfEdgeCases(DrawOnCpu); }
TEST(Sampler, FrequenciesAreExact) { ExpectExactFrequencies(DrawOnCpu); }

TEST(Sampler, GreedyTakesTheLowestOfEqualTokens) {
  const std::vector<float> logits = {1, 3, 3, 2};
  EXPECT_EQ(SampleToken(logits, Params(0), 5).token, 1u);
}

std::map<uint32_t, int> Histogram(const std::vector<float>& logits,
                                  const v1::SamplingParams& params, int draws) {
  std::map<uint32_t, int> counts;
  for (int position = 0; position < draws; ++position) {
    ++counts[SampleToken(logits, params, position).token];
  }
  return counts;
}

TEST(Sampler, FrequenciesFollowTheSoftmax) {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.2f)};
  auto counts = Histogram(logits, Params(1), 60000);
  EXPECT_NEAR(counts[0] / 60000.0, 0.5, 0.01);
  EXPECT_NEAR(counts[1] / 60000.0, 0.3, 0.01);
  EXPECT_NEAR(counts[2] / 60000.0, 0.2, 0.01);
  counts = Histogram(logits, Params(0.5), 60000);  // squares: 25, 9, 4 of 38
  EXPECT_NEAR(counts[0] / 60000.0, 25.0 / 38, 0.01);
  EXPECT_NEAR(counts[2] / 60000.0, 4.0 / 38, 0.01);
}

TEST(Sampler, RestrictionsKeepWhatTheySay) {
  const std::vector<float> logits = {std::log(0.1f), std::log(0.4f), std::log(0.3f),
                                     std::log(0.2f)};
  EXPECT_EQ(Histogram(logits, Params(1, 1, 2), 5000).size(), 2u);
  EXPECT_EQ(Histogram(logits, Params(1, 0.65), 5000).size(), 2u);  // 0.4 + 0.3 reach it
  EXPECT_EQ(Histogram(logits, Params(1, 0.75), 5000).size(), 3u);
  EXPECT_EQ(Histogram(logits, Params(1, 1, 0, 0.6f), 5000).size(), 2u);  // at least 0.24
  EXPECT_EQ(Histogram(logits, Params(1, 0.01f), 5000).size(), 1u);
  EXPECT_EQ(Histogram(logits, Params(1, 1, 1), 10).begin()->first, 1u);
}

TEST(Sampler, SameSeedAndPositionSameToken) {
  std::vector<float> logits(1000);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i % 17) / 5;
  auto params = Params(1.3f);
  bool differs = false;
  for (int position = 0; position < 50; ++position) {
    const uint32_t token = SampleToken(logits, params, position).token;
    EXPECT_EQ(SampleToken(logits, params, position).token, token);
    auto other = params;
    other.set_seed(43);
    differs |= SampleToken(logits, other, position).token != token;
  }
  EXPECT_TRUE(differs);
}

TEST(Sampler, LogprobsAreOfTheModelsOwnDistribution) {
  const std::vector<float> logits = {std::log(0.1f), std::log(0.6f), std::log(0.3f)};
  auto params = Params(0);
  params.set_want_logprobs(true);
  params.set_logprobs(2);
  const SampledToken sampled = SampleToken(logits, params, 0);
  EXPECT_NEAR(sampled.logprob, std::log(0.6), 1e-5);
  ASSERT_EQ(sampled.top.size(), 2u);
  EXPECT_EQ(sampled.top[0].first, 1u);
  EXPECT_EQ(sampled.top[1].first, 2u);
  EXPECT_NEAR(sampled.top[1].second, std::log(0.3), 1e-5);
}

}  // namespace
}  // namespace headlong
