#include "worker/sampler.h"

#include <algorithm>
#include <cmath>
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

struct Candidate {
  uint32_t token = 0;
  double weight = 0;  // exp((logit - largest) / temperature)
};

std::vector<Candidate> Candidates(std::span<const float> logits, float temperature) {
  const float most = *std::max_element(logits.begin(), logits.end());
  std::vector<Candidate> candidates;
  candidates.reserve(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    const double weight = std::exp((double{logits[i]} - most) / temperature);
    if (weight > 0) candidates.push_back({static_cast<uint32_t>(i), weight});
  }
  return candidates;
}

bool Restricts(const v1::SamplingParams& params) {
  return params.top_k() > 0 || params.top_p() < 1 || params.min_p() > 0;
}

// Keeps the k best, then the smallest set whose mass reaches top_p, then what reaches min_p of the
// best one's probability. Candidates come back sorted, best first.
void Restrict(const v1::SamplingParams& params, std::vector<Candidate>& candidates) {
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.token < b.token;
  });
  if (params.top_k() > 0 && candidates.size() > static_cast<size_t>(params.top_k())) {
    candidates.resize(params.top_k());
  }
  if (params.top_p() < 1) {
    double total = 0;
    for (const Candidate& candidate : candidates) total += candidate.weight;
    double mass = 0;
    size_t kept = 0;
    while (kept < candidates.size() && mass < params.top_p() * total) {
      mass += candidates[kept++].weight;
    }
    candidates.resize(std::max<size_t>(kept, 1));
  }
  while (candidates.size() > 1 && candidates.back().weight < params.min_p()) {
    candidates.pop_back();  // the best one's weight is 1
  }
}

uint32_t Draw(const std::vector<Candidate>& candidates, double uniform) {
  double total = 0;
  for (const Candidate& candidate : candidates) total += candidate.weight;
  double left = uniform * total;
  for (const Candidate& candidate : candidates) {
    left -= candidate.weight;
    if (left < 0) return candidate.token;
  }
  return candidates.back().token;
}

uint32_t Choose(std::span<const float> logits, const v1::SamplingParams& params, int64_t position) {
  if (params.temperature() <= kGreedyTemperature) {
    return static_cast<uint32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
  std::vector<Candidate> candidates = Candidates(logits, params.temperature());
  if (Restricts(params)) Restrict(params, candidates);
  return Draw(candidates, UniformAt(params.seed(), static_cast<uint64_t>(position)));
}

}  // namespace

bool IsGreedy(const v1::SamplingParams& params) {
  return params.temperature() <= kGreedyTemperature && !params.want_logprobs();
}

SampledToken SampleToken(std::span<const float> logits, const v1::SamplingParams& params,
                         int64_t position) {
  SampledToken sampled;
  sampled.token = Choose(logits, params, position);
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
