#include "tests/worker/sample_case.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <ostream>
#include <random>

#include "worker/philox.h"
#include "worker/sampler.h"

namespace headlong {

void PrintTo(const TokenDraw& draw, std::ostream* out) {
  *out << "scale " << draw.scale << " top_k " << draw.top_k << " top_p " << draw.top_p
       << " min_weight " << draw.min_weight << " seed " << draw.seed << " position "
       << draw.position;
}

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TokenDraw Draw(float temperature, float top_p = 1, int top_k = 0, float min_p = 0) {
  v1::SamplingParams params;
  params.set_temperature(temperature);
  params.set_top_p(top_p);
  params.set_top_k(top_k);
  params.set_min_p(min_p);
  params.set_seed(42);
  return DrawOf(params, 0);
}

// Tokens in the order of their ranks, and how many of the first ones top-k and top-p keep.
struct Ranking {
  std::vector<int> order;
  std::vector<uint64_t> weights;  // by token
  size_t kept = 0;
};

Ranking Rank(const std::vector<float>& row, const TokenDraw& draw) {
  Ranking ranking;
  ranking.order.resize(row.size());
  std::iota(ranking.order.begin(), ranking.order.end(), 0);
  std::stable_sort(ranking.order.begin(), ranking.order.end(),
                   [&](int a, int b) { return row[a] > row[b]; });
  for (const float logit : row) {
    ranking.weights.push_back(TokenWeight(row[ranking.order[0]], logit, draw.scale));
  }
  ranking.kept = row.size();
  if (draw.top_k > 0) ranking.kept = std::min<size_t>(ranking.kept, draw.top_k);
  if (draw.top_p > 0) {
    long double total = 0, mass = 0;  // of 64 bits: exact
    for (size_t i = 0; i < ranking.kept; ++i) total += ranking.weights[ranking.order[i]];
    size_t kept = 0;
    while (kept < ranking.kept && MulHigh(static_cast<uint64_t>(total), draw.top_p) +
                                          (static_cast<uint64_t>(total) * draw.top_p != 0) >
                                      static_cast<uint64_t>(mass)) {
      mass += ranking.weights[ranking.order[kept++]];
    }
    ranking.kept = kept;
  }
  return ranking;
}

// By sorting: tokens that may be drawn are in `allowed` until one that is not kept puts an end to
// those that rank at or below it.
uint32_t DrawBySorting(const std::vector<float>& row, const TokenDraw& draw) {
  const Ranking ranking = Rank(row, draw);
  if (draw.scale == 0) return ranking.order[0];
  std::vector<size_t> rank(row.size());
  for (size_t i = 0; i < row.size(); ++i) rank[ranking.order[i]] = i;
  size_t end = row.size();
  for (uint32_t number = 0;; ++number) {
    const auto allowed = [&](size_t token) {
      return rank[token] < end && ranking.weights[token] >= draw.min_weight;
    };
    uint64_t total = 0;
    for (size_t i = 0; i < row.size(); ++i) total += allowed(i) ? ranking.weights[i] : 0;
    if (total == 0) return ranking.order[0];
    uint64_t target = MulHigh(RandomAt(draw.seed, draw.position, number), total);
    size_t token = 0;
    for (;; ++token) {
      const uint64_t weight = allowed(token) ? ranking.weights[token] : 0;
      if (target < weight) break;
      target -= weight;
    }
    if (rank[token] < ranking.kept) return static_cast<uint32_t>(token);
    end = rank[token];
  }
}

struct Rows {
  std::vector<int> columns;  // of each part
  std::vector<std::vector<float>> rows;
  std::vector<TokenDraw> draws;

  std::vector<float> Parts() const {
    std::vector<float> parts;
    int first = 0;
    for (const int width : columns) {
      for (const std::vector<float>& row : rows) {
        parts.insert(parts.end(), row.begin() + first, row.begin() + first + width);
      }
      first += width;
    }
    return parts;
  }
};

void ExpectSameAsBySorting(const DrawTokens& draw_tokens, const Rows& rows) {
  const std::vector<uint32_t> drawn = draw_tokens(rows.Parts(), rows.columns, rows.draws);
  ASSERT_EQ(drawn.size(), rows.rows.size());
  for (size_t r = 0; r < drawn.size(); ++r) {
    ASSERT_EQ(drawn[r], DrawBySorting(rows.rows[r], rows.draws[r]))
        << "row " << r << " of " << rows.rows[r].size() << " columns in " << rows.columns.size()
        << " parts, " << testing::PrintToString(rows.draws[r]);
  }
}

// Logits as a model's, as an untrained model's, of few different values, or mostly forbidden.
std::vector<float> RandomRow(int columns, std::mt19937_64& random) {
  const int kind = static_cast<int>(random() % 4);
  std::normal_distribution<float> normal(kind == 0 ? -3.0f : 0.0f, kind == 0 ? 4.0f : 0.5f);
  std::vector<float> row(columns);
  for (float& logit : row) {
    logit = normal(random);
    if (kind == 2) logit = std::round(2 * logit) / 2;
    if (kind == 3 && random() % 8 != 0) logit = -kInfinity;
  }
  row[random() % columns] += 3;
  return row;
}

TokenDraw RandomDraw(int columns, std::mt19937_64& random) {
  const float temperatures[] = {0, 0.01f, 0.3f, 0.8f, 1, 2};
  const float top_ps[] = {1, 1, 0.95f, 0.5f, 1e-6f, 0.999f};
  const int top_ks[] = {0, 0, 1, 2, 50, columns - 1, columns, columns + 7};
  const float min_ps[] = {0, 0, 0.05f, 1};
  TokenDraw draw = Draw(temperatures[random() % 6], top_ps[random() % 6],
                        std::max(0, top_ks[random() % 8]), min_ps[random() % 4]);
  draw.seed = random();
  draw.position = random() % 100000;
  return draw;
}

}  // namespace

void ExpectTokensOfRandomRows(const DrawTokens& draw_tokens) {
  std::mt19937_64 random(5);
  for (const int columns : {1, 2, 7, 33, 511, 1000, 4099, 32000}) {
    for (const int parts : {1, 2, 5}) {
      Rows rows;
      int left = columns;
      for (int part = 1; part < parts; ++part) {
        rows.columns.push_back(part == 2 ? 0 : static_cast<int>(random() % (left + 1)));
        left -= rows.columns.back();
      }
      rows.columns.push_back(left);
      const int count = columns > 4000 ? 24 : 60;
      for (int row = 0; row < count; ++row) {
        rows.rows.push_back(RandomRow(columns, random));
        rows.draws.push_back(RandomDraw(columns, random));
      }
      ExpectSameAsBySorting(draw_tokens, rows);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

void ExpectTokensOfEdgeCases(const DrawTokens& draw_tokens) {
  const float low = -kInfinity;
  const std::vector<std::vector<float>> rows = {
      {low, low, low, low, low},         // none is allowed: the first one
      {low, 2, low, 2, low},             // ties
      {0.0f, -0.0f, 0.0f, -0.0f, 0.0f},  // equal, though their bits differ
      {1, 1, 1, 1, 1},
      {-1e30f, -2e30f, -1e30f, -3e30f, -1.5e30f},
      {3e38f, -3e38f, 3e38f, 0, 1},
      {1e-40f, 2e-40f, 0, -1e-40f, 3e-40f}};  // subnormal
  for (const float temperature : {0.0f, 1e-5f, 1.1e-5f, 1.0f, 2.0f}) {
    for (const float top_p : {1.0f, 0.6f, 1e-30f}) {
      for (const int top_k : {0, 1, 3, 5}) {
        for (const float min_p : {0.0f, 0.5f, 1.0f}) {
          Rows batch;
          batch.columns = {2, 3};
          for (size_t row = 0; row < rows.size(); ++row) {
            batch.rows.push_back(rows[row]);
            batch.draws.push_back(Draw(temperature, top_p, top_k, min_p));
            batch.draws.back().position = row;
          }
          ExpectSameAsBySorting(draw_tokens, batch);
          if (testing::Test::HasFatalFailure()) return;
        }
      }
    }
  }
}

// Pearson's chi-square of many draws against the probabilities, in doubles, of the kept tokens.
void ExpectExactFrequencies(const DrawTokens& draw_tokens) {
  constexpr int kDraws = 20000, kColumns = 40;
  std::mt19937_64 random(11);
  std::vector<float> row(kColumns);
  std::normal_distribution<float> normal(0, 1.5);
  for (float& logit : row) logit = normal(random);
  row[7] = row[23];
  struct Case {
    float temperature, top_p;
    int top_k;
    float min_p;
  };
  for (const Case& c :
       {Case{1, 1, 0, 0}, Case{0.5f, 1, 0, 0}, Case{2, 0.9f, 0, 0}, Case{1, 1, 10, 0},
        Case{1.5f, 0.8f, 20, 0}, Case{1, 1, 0, 0.1f}, Case{2, 0.95f, 30, 0.05f}}) {
    Rows rows;
    rows.columns = {kColumns};
    rows.rows.assign(kDraws, row);
    rows.draws.assign(kDraws, Draw(c.temperature, c.top_p, c.top_k, c.min_p));
    for (int i = 0; i < kDraws; ++i) rows.draws[i].position = i;
    std::vector<int> counts(kColumns);
    for (const uint32_t token : draw_tokens(rows.Parts(), rows.columns, rows.draws)) {
      ++counts.at(token);
    }
    const Ranking ranking = Rank(row, rows.draws[0]);
    const float best = row[ranking.order[0]];
    std::vector<double> exact(kColumns);
    double total = 0;
    for (size_t i = 0; i < ranking.kept; ++i) {
      const int token = ranking.order[i];
      const double weight = std::exp((double{row[token]} - best) / c.temperature);
      if (weight >= c.min_p) total += exact[token] = weight;
    }
    double chi_square = 0;
    int kept = 0;
    for (int token = 0; token < kColumns; ++token) {
      if (exact[token] == 0) {
        EXPECT_EQ(counts[token], 0) << token;
        continue;
      }
      const double expected = exact[token] / total * kDraws;
      chi_square += std::pow(counts[token] - expected, 2) / expected;
      ++kept;
    }
    ASSERT_GT(kept, 1);
    // Four standard deviations above the mean.
    EXPECT_LT(chi_square, kept - 1 + 4 * std::sqrt(2.0 * (kept - 1)))
        << testing::PrintToString(rows.draws[0]) << ", kept " << kept;
  }
}

}  // namespace headlong
