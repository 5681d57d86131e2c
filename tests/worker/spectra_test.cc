#include <gtest/gtest.h>

#include <random>

#include "worker/spectra_cpu.h"

namespace headlong {
namespace {

TEST(SpectraCpu, AreSumsOverTheChunksThatAskInAnyPieces) {
  constexpr int kDims = 8, kGroup = 2, kRows = 200, kHeads = 2;
  AttentionShape shape;
  shape.head_dim = kDims;
  shape.group = kGroup;
  shape.heads = {{}, {1, 3}};
  constexpr int kColumns = kHeads * (kGroup + 2) * kDims;
  std::vector<float> qkv(kRows * kColumns);
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (float& x : qkv) x = normal(random);

  SpectraCpu spectra(shape);
  for (const auto& [begin, end] : {std::pair(0, 70), {70, 71}, {71, kRows}}) {
    Batch batch;
    Chunk other;  // of somebody who did not ask
    other.count = 3;
    Chunk chunk;
    chunk.first_row = 3;
    chunk.count = end - begin;
    chunk.spectra = true;
    batch.chunks = {other, chunk};
    std::vector<float> rows(3 * kColumns, 100.0f);
    rows.insert(rows.end(), qkv.begin() + begin * kColumns, qkv.begin() + end * kColumns);
    spectra.Add(1, rows.data(), batch);
  }
  const std::vector<HeadMoments> found = spectra.Take();
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[1].head, 3);
  EXPECT_EQ(found[1].layer, 1);
  const auto moment = [&](int first, int vectors, int i, int j) {
    double sum = 0;
    for (int row = 0; row < kRows; ++row) {
      for (int v = 0; v < vectors; ++v) {
        const float* x = &qkv[row * kColumns + first + v * kDims];
        sum += double{x[i]} * x[j];
      }
    }
    return sum;
  };
  for (int h = 0; h < kHeads; ++h) {
    const int keys = kHeads * kGroup * kDims;
    for (int i = 0, at = 0; i < kDims; ++i) {
      for (int j = 0; j <= i; ++j, ++at) {
        EXPECT_NEAR(found[h].queries[at], moment(h * kGroup * kDims, kGroup, i, j), 1e-3);
        EXPECT_NEAR(found[h].keys[at], moment(keys + h * kDims, 1, i, j), 1e-3);
        EXPECT_NEAR(found[h].values[at], moment(keys + (kHeads + h) * kDims, 1, i, j), 1e-3);
      }
    }
  }
  EXPECT_TRUE(spectra.Take().empty());
}

}  // namespace
}  // namespace headlong
