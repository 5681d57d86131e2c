// Where tiles are cut along their keys, and that merging the parts gives the whole.
#include "worker/attention_parts.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace headlong {
namespace {

std::vector<KeyRun> Runs(const std::vector<int64_t>& counts) {
  std::vector<KeyRun> runs;
  for (const int64_t count : counts) {
    runs.push_back({nullptr, nullptr, static_cast<int64_t>(runs.size()) * 4096, count});
  }
  return runs;
}

std::vector<size_t> Ends(const std::vector<KeyRun>& runs) {
  std::vector<size_t> ends;
  do {
    ends.push_back(PartEnd(runs, ends.empty() ? 0 : ends.back()));
  } while (ends.back() < runs.size());
  return ends;
}

TEST(PartEnd, CutsAfterEnoughKeysAndNeverInsideARun) {
  EXPECT_EQ(Ends(Runs({})), std::vector<size_t>({0}));
  EXPECT_EQ(Ends(Runs({4, 256})), std::vector<size_t>({2}));
  EXPECT_EQ(Ends(Runs({2047})), std::vector<size_t>({1}));
  EXPECT_EQ(Ends(Runs({2048})), std::vector<size_t>({1}));
  EXPECT_EQ(Ends(Runs({2048, 1})), std::vector<size_t>({1, 2}));
  EXPECT_EQ(Ends(Runs({2000, 64, 64, 1984, 5000, 3})), std::vector<size_t>({2, 4, 5, 6}));
}

TEST(PartialResults, MergesByWeightAndLeavesOutWhatSawNothing) {
  constexpr float kNothing = -std::numeric_limits<float>::infinity();
  PartialResults partial;
  partial.Resize(4, 2);
  const float lse[4][2] = {{0, 0}, {std::log(3.0f), kNothing}, {kNothing, kNothing}, {100, 100}};
  for (int part = 0; part < 4; ++part) {
    cpu::AttentionTile tile;
    tile.rows = tile.group = 2;
    partial.Redirect(part, tile);
    for (int row = 0; row < 2; ++row) {
      tile.out[row * 2] = static_cast<float>(part);
      tile.out[row * 2 + 1] = static_cast<float>(10 * part + row);
      tile.lse[row] = lse[part][row];
    }
  }
  float out[4], total[2];
  cpu::AttentionTile tile;
  tile.rows = tile.group = 2;
  tile.out = out;
  tile.lse = total;
  partial.Merge(0, 3, tile);
  EXPECT_FLOAT_EQ(out[0], 0.75f);
  EXPECT_FLOAT_EQ(out[1], 7.5f);
  EXPECT_FLOAT_EQ(total[0], std::log(4.0f));
  EXPECT_FLOAT_EQ(out[2], 0.0f);
  EXPECT_FLOAT_EQ(out[3], 1.0f);
  EXPECT_FLOAT_EQ(total[1], 0.0f);
  partial.Merge(2, 1, tile);
  EXPECT_EQ(out[0], 0.0f);
  EXPECT_EQ(total[0], kNothing);
  partial.Merge(2, 2, tile);
  EXPECT_FLOAT_EQ(out[0], 3.0f);
  EXPECT_FLOAT_EQ(total[0], 100.0f);
}

}  // namespace
}  // namespace headlong
