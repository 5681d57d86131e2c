// Attention on earlier copies, with attention that is planted.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "worker/repeat_attention_cpu.h"

namespace headlong {
namespace {

constexpr int kDim = 8;

// One query head per KV head unless told; queries and keys by position, all in fp32.
struct Lane {
  explicit Lane(int positions, int group_size = 1)
      : group(group_size), keys(positions * kDim, 0), q(positions * group_size * kDim, 0) {}

  float* key(int position) { return &keys[position * kDim]; }
  float* query(int position, int head = 0) { return &q[(position * group + head) * kDim]; }
  int positions() const { return static_cast<int>(keys.size()) / kDim; }

  // Sums over all rows from `first` on, by query head; the attention itself by the real kernel.
  std::vector<RepeatSums> Score(int64_t period, int64_t first, int64_t window = 0,
                                const std::vector<CopiedPosition>& copies = {}) {
    std::vector<RepeatSums> sums(group);
    std::vector<KeyRun> runs;  // in two, to be found
    const int cut = positions() / 3;
    runs.push_back({Bytes(key(0)), Bytes(key(0)), 0, cut});
    runs.push_back({Bytes(key(cut)), Bytes(key(cut)), cut, positions() - cut});
    const int most = cpu::kMaxTileRows / group;
    std::vector<float> out(q.size());
    for (int begin = 0; begin < positions(); begin += most) {
      cpu::AttentionTile tile;
      tile.q = query(begin);
      tile.q_stride = tile.out_stride = group * kDim;
      tile.rows = std::min(most, positions() - begin) * group;
      tile.group = group;
      tile.head_dim = tile.key_dims = tile.value_dims = kDim;
      tile.first_position = begin;
      tile.slopes = slopes.empty() ? nullptr : slopes.data();
      tile.window = window;
      tile.runs = runs;
      tile.out = out.data();
      std::vector<float> lse(tile.rows);
      tile.lse = lse.data();
      cpu::AttendTile(tile);
      AddRepeatAttention(tile, period, first, sums);
      CountCopies(tile, copies, sums);
    }
    return sums;
  }

  static const std::byte* Bytes(const float* x) { return reinterpret_cast<const std::byte*>(x); }

  int group;
  std::vector<float> keys;
  std::vector<float> q;
  std::vector<float> slopes;  // [group], of ALiBi; empty: none
};

// Every token of a copy has a direction of its own (two of 8 dimensions, by its place in the copy)
// and looks for the direction of the place `shift` later.
Lane Planted(int period, int copies, int shift) {
  Lane lane(period * copies);
  const auto point = [&](float* x, int place, float length) { x[place % kDim] = length; };
  for (int position = 0; position < period * copies; ++position) {
    point(lane.key(position), position % period, 10);
    point(lane.query(position), (position + shift) % period, 10);
  }
  return lane;
}

TEST(RepeatAttention, AllMassOnTheCopyIsEcho) {
  // A query sees its own token as well as the earlier copies: with 4 copies row r of the c-th has c
  // of c + 1 shares on earlier ones.
  const int period = kDim;
  const auto sums = Planted(period, 4, 0).Score(period, period);
  const double rows = 3.0 * period;
  EXPECT_NEAR(sums[0].echo / rows, (1.0 / 2 + 2.0 / 3 + 3.0 / 4) / 3, 1e-3);
  EXPECT_NEAR(sums[0].induction / rows, 0, 1e-3);
}

TEST(RepeatAttention, AllMassOneAfterTheCopyIsInduction) {
  const int period = kDim;
  const auto sums = Planted(period, 4, 1).Score(period, period);
  const double rows = 3.0 * period;
  // The last place of a copy looks for the first one of all, too, which stands after no copy: of
  // the second to fourth copy's row that is 1/2, 1/3 and 1/4.
  const double unseen = 1.0 / 2 + 1.0 / 3 + 1.0 / 4;
  EXPECT_NEAR(sums[0].induction / rows, 1 - unseen / rows, 1e-3);
  EXPECT_NEAR(sums[0].echo / rows, 0, 1e-3);
}

TEST(RepeatAttention, RowsOfTheFirstCopyDoNotCount) {
  const int period = kDim;
  EXPECT_EQ(Planted(period, 1, 0).Score(period, period)[0].echo, 0);
  const double all = Planted(period, 3, 0).Score(period, period)[0].echo;
  const double last = Planted(period, 3, 0).Score(period, 2 * period)[0].echo;
  EXPECT_NEAR(all - last, period / 2.0, 0.01) << "the second copy's rows: half on the first";
}

void ExpectDefinition(int window, const std::vector<float>& slopes) {
  const int period = 7, copies = 5, group = 3, n = period * copies;
  Lane lane(n, group);
  lane.slopes = slopes;
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (float& x : lane.keys) x = normal(random);
  for (float& x : lane.q) x = normal(random);
  std::vector<RepeatSums> expected(group);
  for (int m = period; m < n; ++m) {
    for (int head = 0; head < group; ++head) {
      std::vector<double> weights(m + 1, 0);
      const int seen = window > 0 ? std::max(m + 1 - window, 0) : 0;
      double sum = 0;
      for (int j = seen; j <= m; ++j) {
        double dot = 0;
        for (int i = 0; i < kDim; ++i) dot += double{lane.query(m, head)[i]} * lane.key(j)[i];
        if (!slopes.empty()) dot -= double{slopes[head]} * (m - j);
        sum += weights[j] = std::exp(dot);
      }
      for (int j = m - period; j >= 0; j -= period) {
        expected[head].echo += weights[j] / sum;
        expected[head].induction += weights[j + 1] / sum;
      }
    }
  }
  const auto sums = lane.Score(period, period, window);
  for (int head = 0; head < group; ++head) {
    EXPECT_NEAR(sums[head].echo, expected[head].echo, 1e-4) << window;
    EXPECT_NEAR(sums[head].induction, expected[head].induction, 1e-4) << window;
  }
}

// Against softmax written out, in fp64, for a group of query heads; all keys, and those that a
// window of the model lets a row see, which begins at a copy, behind one, or at what follows one.
TEST(RepeatAttention, EqualsTheDefinition) {
  for (const int window : {0, 5, 7, 8, 15, 20}) ExpectDefinition(window, {});
}

TEST(RepeatAttention, EqualsTheDefinitionWithAlibi) { ExpectDefinition(0, {0.25f, 0.01f, 0.1f}); }

TEST(RepeatAttention, TheLargestWeightIsTheFirstOfEquals) {
  const int period = kDim;
  Lane lane = Planted(period, 3, 1);
  // Row 17, second of the third copy, looks for the third of a copy: 2 and 10 are equally good.
  const auto copied = [&](int64_t row, int64_t position, int64_t window = 0) {
    return lane.Score(0, 0, window, {{row, position}})[0].copied;
  };
  EXPECT_EQ(copied(17, 2), 1);
  EXPECT_EQ(copied(17, 10), 0);
  EXPECT_EQ(copied(17, 10, 12), 1) << "2 is behind the window";
  EXPECT_EQ(copied(17, 1), 0);
  EXPECT_EQ(lane.Score(0, 0, 0, {{17, 2}, {17, 10}, {18, 3}})[0].copied, 2);
  EXPECT_EQ(lane.Score(0, 0, 0, {{17, 2}})[0].echo, 0);
}

}  // namespace
}  // namespace headlong
