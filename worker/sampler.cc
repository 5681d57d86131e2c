// Compiled without fused multiply-add: see TokenWeight.
#include "worker/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "worker/philox.h"

namespace headlong {
namespace {

constexpr float kGreedyTemperature = 1e-5f;  // at or below: greedy, as vLLM does

double LogSumExp(std::span<const float> logits) {
  const float most = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float logit : logits) sum += std::exp(double{logit} - most);
  return most + std::log(sum);
}

std::vector<uint32_t> BestTokens(std::span<const float> logits, size_t count) {
  std::vector<uint32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0u);
  count = std::min(count, ids.size());
  std::partial_sort(ids.begin(), ids.begin() + count, ids.end(), [&](uint32_t a, uint32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  });
  ids.resize(count);
  return ids;
}

// The weights of a row, and sums over parts of it.
class WeightedRow {
 public:
  WeightedRow(std::span<const float> logits, float best, const TokenDraw& draw)
      : logits_(logits), least_(draw.min_weight), weights_(logits.size()) {
    for (size_t i = 0; i < logits.size(); ++i) {
      weights_[i] = TokenWeight(best, logits[i], draw.scale);
    }
  }

  uint64_t Total() const { return std::accumulate(weights_.begin(), weights_.end(), uint64_t{0}); }

  RanksBefore Before(RankedToken one) const {
    RanksBefore before;
    for (int i = 0; i < size(); ++i) {
      if (!RanksAbove(At(i), one)) continue;
      ++before.count;
      if (weights_[i] >= least_) before.mass += weights_[i];
    }
    return before;
  }

  // Mass of the first `count` ranks, whatever their weights.
  uint64_t MassOfFirst(int count) const {
    if (count >= size()) return Total();
    std::vector<float> sorted(logits_.begin(), logits_.end());
    std::nth_element(sorted.begin(), sorted.begin() + count - 1, sorted.end(), std::greater<>());
    const float last = sorted[count - 1];
    uint64_t mass = 0, weight = 0;
    int64_t more = count;  // ranks that have the last one's logit
    for (int i = 0; i < size(); ++i) {
      if (logits_[i] > last) {
        mass += weights_[i];
        --more;
      } else if (logits_[i] == last) {
        weight = weights_[i];
      }
    }
    return mass + static_cast<uint64_t>(more) * weight;
  }

  // Of the tokens that rank above `limit` and have min_weight: the one at which the sum of the
  // weights, in order of ids, first exceeds `target`. REQUIRES: the whole sum does.
  RankedToken Find(RankedToken limit, uint64_t target) const {
    int i = 0;
    for (;; ++i) {
      if (weights_[i] < least_ || !RanksAbove(At(i), limit)) continue;
      if (target < weights_[i]) break;
      target -= weights_[i];
    }
    return At(i);
  }

 private:
  int size() const { return static_cast<int>(logits_.size()); }
  RankedToken At(int i) const { return {logits_[i], i}; }

  const std::span<const float> logits_;
  const uint64_t least_;
  std::vector<uint64_t> weights_;
};

}  // namespace

TokenDraw DrawOf(const v1::SamplingParams& params, int64_t position) {
  TokenDraw draw;
  if (params.temperature() <= kGreedyTemperature) return draw;
  draw.scale = static_cast<float>(1.4426950408889634 / params.temperature());
  draw.top_k = params.top_k();
  if (params.top_p() < 1) {
    draw.top_p = std::max<uint64_t>(static_cast<uint64_t>(std::ldexp(params.top_p(), 64)), 1);
  }
  draw.min_weight = static_cast<uint64_t>(
      std::ceil(double{params.min_p()} * static_cast<double>(kLargestWeight)));
  draw.seed = params.seed();
  draw.position = static_cast<uint64_t>(position);
  return draw;
}

bool IsGreedy(const v1::SamplingParams& params) {
  return params.temperature() <= kGreedyTemperature && !params.want_logprobs();
}

uint32_t DrawToken(std::span<const float> logits, const TokenDraw& draw) {
  const auto best = std::max_element(logits.begin(), logits.end());
  const auto likeliest = static_cast<uint32_t>(best - logits.begin());
  if (draw.scale == 0) return likeliest;
  const WeightedRow row(logits, *best, draw);
  RankedToken limit{-std::numeric_limits<float>::infinity(), std::numeric_limits<int32_t>::max()};
  uint64_t bound = 0;
  if (draw.top_p > 0) {
    bound = MassBound(draw.top_k > 0 ? row.MassOfFirst(draw.top_k) : row.Total(), draw.top_p);
  }
  RanksBefore left = row.Before(limit);
  for (uint32_t number = 0; left.mass > 0; ++number) {
    limit = row.Find(limit, MulHigh(RandomAt(draw.seed, draw.position, number), left.mass));
    if (draw.top_k == 0 && draw.top_p == 0) return static_cast<uint32_t>(limit.token);
    left = row.Before(limit);
    if (IsKept(left, draw, bound)) return static_cast<uint32_t>(limit.token);
  }
  return likeliest;  // no logit is finite
}

SampledToken SampleToken(std::span<const float> logits, const v1::SamplingParams& params,
                         int64_t position) {
  SampledToken sampled;
  sampled.token = DrawToken(logits, DrawOf(params, position));
  if (params.want_logprobs()) {
    const double total = LogSumExp(logits);
    sampled.logprob = static_cast<float>(logits[sampled.token] - total);
    for (uint32_t id : BestTokens(logits, params.logprobs())) {
      sampled.top.emplace_back(id, static_cast<float>(logits[id] - total));
    }
  }
  return sampled;
}

}  // namespace headlong
