#include "tests/support/local_head_reference.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace headlong::reference {
namespace {

// First kept position of the window of a query at position m.
int64_t Lo(const HeadRule& rule, int64_t m) {
  const int64_t fifth = rule.prompt_tokens / 5;
  const int64_t window = rule.exact ? (fifth > 4000 ? fifth : 4000) : rule.window;
  const double blocks = std::floor(static_cast<double>(m + 1 - window) / rule.block);
  return std::max(rule.sinks, static_cast<int64_t>(blocks) * rule.block);
}

bool SeesEverything(const HeadRule& rule, int64_t m) {
  return rule.retrieval || (rule.exact && m < rule.prompt_tokens);
}

template <typename Key>
double Dot(const float* query, const Key* key, int n) {
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += static_cast<double>(query[i]) * static_cast<double>(key[i]);
  return sum;
}

// Mean rows of the positions that a query at m has dropped.
struct Mean {
  int64_t count = 0;
  std::vector<double> key;
  std::vector<double> value;
};

Mean DroppedMean(const HeadRule& rule, const HeadInput& input, int64_t m) {
  const int d = input.head_dim;
  Mean mean{.count = 0, .key = std::vector<double>(d), .value = std::vector<double>(d)};
  for (int64_t p = 0; p <= m; ++p) {
    if (!StandsFor(rule, m, p)) continue;
    ++mean.count;
    for (int i = 0; i < d; ++i) {
      mean.key[i] += input.keys[p * d + i];
      mean.value[i] += input.values[p * d + i];
    }
  }
  for (int i = 0; i < d && mean.count > 0; ++i) {
    mean.key[i] /= static_cast<double>(mean.count);
    mean.value[i] /= static_cast<double>(mean.count);
  }
  return mean;
}

}  // namespace

bool Sees(const HeadRule& rule, int64_t m, int64_t p) {
  if (p < 0 || p > m) return false;
  if (SeesEverything(rule, m)) return true;
  return p < rule.sinks || p >= Lo(rule, m);
}

bool StandsFor(const HeadRule& rule, int64_t m, int64_t p) {
  if (SeesEverything(rule, m) || !rule.compensation) return false;
  return p >= rule.sinks && p < Lo(rule, m);
}

HeadOutput Attend(const HeadRule& rule, const HeadInput& input, int64_t first) {
  const int d = input.head_dim;
  const auto positions = static_cast<int64_t>(input.keys.size()) / d;
  const double scale = 1.0 / std::sqrt(static_cast<double>(d));
  HeadOutput output;
  Mean mean;
  int64_t mean_of = -1;  // the query that `mean` was made for; the same for an equal lo
  for (int64_t m = first; m < positions; ++m) {
    if (mean_of < 0 || SeesEverything(rule, mean_of) || Lo(rule, m) != Lo(rule, mean_of)) {
      mean = DroppedMean(rule, input, m);
      mean_of = m;
    }
    const float* query = input.queries.data() + m * d;
    std::vector<double> logits;
    std::vector<int64_t> seen;
    for (int64_t p = 0; p <= m; ++p) {
      if (!Sees(rule, m, p)) continue;
      logits.push_back(Dot(query, input.keys.data() + p * d, d) * scale);
      seen.push_back(p);
    }
    const double mean_logit = mean.count == 0 ? -std::numeric_limits<double>::infinity()
                                              : Dot(query, mean.key.data(), d) * scale +
                                                    std::log(static_cast<double>(mean.count));
    double peak = mean_logit;
    for (double logit : logits) peak = std::max(peak, logit);
    double total = std::exp(mean_logit - peak);
    std::vector<double> out(d);
    for (int i = 0; i < d && mean.count > 0; ++i) out[i] = total * mean.value[i];
    for (size_t j = 0; j < seen.size(); ++j) {
      const double weight = std::exp(logits[j] - peak);
      total += weight;
      for (int i = 0; i < d; ++i) out[i] += weight * input.values[seen[j] * d + i];
    }
    for (double& x : out) output.out.push_back(x / total);
    output.lse.push_back(peak + std::log(total));
  }
  return output;
}

float RoundToBfloat16(float value) {
  if (value == 0 || !std::isfinite(value)) return value;
  const int exponent = std::max(std::ilogb(value), -126);
  const double unit = std::ldexp(1.0, exponent - 7);
  return static_cast<float>(std::nearbyint(value / unit) * unit);
}

}  // namespace headlong::reference
