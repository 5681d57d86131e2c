#include "coordinator/calibration/projection_fit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "tests/support/orthonormal.h"

namespace headlong {
namespace {

constexpr int kDims = 32;

// Moments of random vectors that lie in the span of `rows`, with `noise` beside it.
std::vector<double> MomentsIn(const std::vector<float>& rows, double noise, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  std::vector<double> moments(kDims * kDims, 0.0);
  for (int token = 0; token < 500; ++token) {
    std::vector<double> x(kDims);
    for (double& number : x) number = noise * normal(random);
    for (size_t r = 0; r < rows.size() / kDims; ++r) {
      const double part = normal(random);
      for (int i = 0; i < kDims; ++i) x[i] += part * rows[r * kDims + i];
    }
    for (int i = 0; i < kDims; ++i) {
      for (int j = 0; j < kDims; ++j) moments[i * kDims + j] += x[i] * x[j];
    }
  }
  return moments;
}

// The share of the moments that the rows hold: trace(A M A^T) / trace(M).
double Held(const std::vector<float>& rows, const std::vector<double>& moments) {
  double held = 0, all = 0;
  for (int i = 0; i < kDims; ++i) all += moments[i * kDims + i];
  for (size_t r = 0; r < rows.size() / kDims; ++r) {
    for (int i = 0; i < kDims; ++i) {
      for (int j = 0; j < kDims; ++j) {
        held += double{rows[r * kDims + i]} * moments[i * kDims + j] * rows[r * kDims + j];
      }
    }
  }
  return held / all;
}

TEST(FitProjections, FindsTheSpaceThatHoldsEverything) {
  const HeadSpectra spectra{MomentsIn(RandomOrthonormal(1, 8, kDims), 0, 1),
                            MomentsIn(RandomOrthonormal(2, 8, kDims), 0, 2),
                            MomentsIn(RandomOrthonormal(3, 16, kDims), 0, 3)};
  const HeadProjections head = FitProjections(spectra, {16, 16}, kDims);
  EXPECT_TRUE(Projections::Create(kDims, {{{0, 0}, head}}).ok()) << "orthonormal";
  EXPECT_NEAR(Held(head.keys, spectra.keys), 1, 1e-5);
  EXPECT_NEAR(Held(head.keys, spectra.queries), 1, 1e-5);
  EXPECT_NEAR(Held(head.values, spectra.values), 1, 1e-5);
  EXPECT_NEAR(KeptShare(spectra.values, 16, kDims), 1, 1e-9);
}

TEST(FitProjections, HoldsAsMuchAsAnySpaceOfItsRank) {
  const HeadSpectra spectra{{}, {}, MomentsIn(RandomOrthonormal(3, 24, kDims), 0.3, 3)};
  const HeadProjections head = FitProjections(spectra, {0, 16}, kDims);
  EXPECT_TRUE(head.keys.empty());
  const double held = Held(head.values, spectra.values);
  EXPECT_NEAR(held, KeptShare(spectra.values, 16, kDims), 1e-5);
  for (int seed = 0; seed < 20; ++seed) {
    EXPECT_GT(held, Held(RandomOrthonormal(seed, 16, kDims), spectra.values));
  }
}

TEST(FitProjections, GiveAllNumbersAboutTheSameSize) {
  std::vector<double> moments(kDims * kDims, 0.0);
  for (int i = 0; i < kDims; ++i) moments[i * kDims + i] = std::pow(0.5, i);
  const HeadSpectra spectra{moments, moments, moments};
  const HeadProjections head = FitProjections(spectra, {16, 0}, kDims);
  for (int r = 0; r < 16; ++r) {
    const std::vector<float> row(head.keys.begin() + r * kDims,
                                 head.keys.begin() + (r + 1) * kDims);
    EXPECT_LT(Held(row, moments), 0.25) << "one of 16 numbers, " << r;
  }
}

TEST(FitProjections, OfNothingAreStillProjections) {
  const std::vector<double> zeros(kDims * kDims, 0.0);
  const HeadProjections head = FitProjections({zeros, zeros, zeros}, {32, 16}, kDims);
  EXPECT_TRUE(Projections::Create(kDims, {{{0, 0}, head}}).ok());
}

}  // namespace
}  // namespace headlong
