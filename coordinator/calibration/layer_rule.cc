#include "coordinator/calibration/layer_rule.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>

namespace headlong {
namespace {

constexpr int kGroups = 3;
constexpr int64_t kStep = kBlockTokens;

// Sums of squared distances to the mean of any run of sorted values.
class Spread {
 public:
  explicit Spread(const std::vector<double>& sorted) : sums_(1, 0), squares_(1, 0) {
    // Around the first value: prefix sums of numbers near each other lose nothing.
    for (const double value : sorted) {
      const double x = value - sorted.front();
      sums_.push_back(sums_.back() + x);
      squares_.push_back(squares_.back() + x * x);
    }
  }
  double operator()(size_t begin, size_t end) const {
    const double sum = sums_[end] - sums_[begin];
    const double spread =
        squares_[end] - squares_[begin] - sum * sum / static_cast<double>(end - begin);
    return std::max(spread, 0.0);
  }

 private:
  std::vector<double> sums_, squares_;
};

// Where each group of sorted values begins: an optimal split by dynamic programming over how many
// values the first groups have.
std::vector<size_t> Begins(const std::vector<double>& sorted, size_t groups) {
  const size_t n = sorted.size();
  const Spread spread(sorted);
  std::vector<std::vector<double>> least(
      groups, std::vector<double>(n + 1, std::numeric_limits<double>::infinity()));
  std::vector<std::vector<size_t>> begin(groups, std::vector<size_t>(n + 1, 0));
  for (size_t end = 1; end <= n; ++end) least[0][end] = spread(0, end);
  for (size_t g = 1; g < groups; ++g) {
    for (size_t end = g + 1; end <= n; ++end) {
      for (size_t at = g; at < end; ++at) {
        const double cost = least[g - 1][at] + spread(at, end);
        if (cost >= least[g][end]) continue;
        least[g][end] = cost;
        begin[g][end] = at;
      }
    }
  }
  std::vector<size_t> begins(groups);
  for (size_t g = groups, end = n; g-- > 0;) end = begins[g] = begin[g][end];
  return begins;
}

int64_t BytesOf(const Plan& plan, const Budget& budget) {
  return plan.SequenceBytes(budget.context, budget.context, budget.head_dim, budget.element_bytes);
}

// The widest of the plans that `make` gives for a window with at most so many bytes, which grow
// with it; the one for `least` where none has so few.
Plan Widest(const std::function<Plan(int64_t window)>& make, int64_t least, const Budget& budget,
            int64_t max_bytes) {
  Plan widest = make(least);
  for (int64_t window = least + kStep; window <= budget.context; window += kStep) {
    Plan wider = make(window);
    if (BytesOf(wider, budget) > max_bytes) break;
    widest = std::move(wider);
  }
  return widest;
}

}  // namespace

std::vector<int> ThreeMeans(const std::vector<double>& values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> sorted;
  for (const size_t i : order) sorted.push_back(values[i]);
  std::vector<double> distinct = sorted;
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  std::vector<int> groups(values.size(), 0);
  if (values.empty()) return groups;
  const auto begins = Begins(sorted, std::min<size_t>(kGroups, distinct.size()));
  for (size_t i = 0; i < order.size(); ++i) {
    const auto after = std::upper_bound(begins.begin(), begins.end(), i);
    groups[order[i]] = static_cast<int>(after - begins.begin()) - 1;
  }
  return groups;
}

Plan WithWindowsByLayer(const PlanShape& shape, const Plan& plan,
                        const std::vector<double>& similarity, const Budget& budget,
                        const LayerRule& rule) {
  const std::vector<int> groups = ThreeMeans(similarity);
  const int most_similar = *std::max_element(groups.begin(), groups.end());
  if (most_similar == 0) return plan;  // all layers are alike
  int64_t before = 0;
  for (const HeadPolicy& policy : plan.policies()) before = policy.window_tokens.value_or(before);
  const auto less = std::max(
      kStep, static_cast<int64_t>(static_cast<double>(before) * rule.kept) / kStep * kStep);
  const auto make = [&](int64_t window) {
    std::vector<HeadPolicy> heads;
    for (int layer = 0; layer < shape.layers; ++layer) {
      for (int head = 0; head < shape.kv_heads; ++head) {
        HeadPolicy& policy = heads.emplace_back(plan.policy(layer, head));
        if (policy.full()) continue;
        const bool similar = groups[layer] == most_similar;
        policy.name += similar ? "-less" : "-more";
        policy.window_tokens = similar ? less : window;
      }
    }
    return Plan::FromPolicies(shape, heads);
  };
  return Widest(make, before, budget, BytesOf(plan, budget));
}

Plan LocalWithin(const PlanShape& shape, const Budget& budget, int sinks, int64_t max_bytes) {
  const auto make = [&](int64_t window) {
    HeadPolicy policy;
    policy.name = "local";
    policy.sinks = sinks;
    policy.window_tokens = window;
    const auto heads = static_cast<size_t>(shape.layers) * static_cast<size_t>(shape.kv_heads);
    return Plan::FromPolicies(shape, std::vector<HeadPolicy>(heads, policy));
  };
  return Widest(make, kStep, budget, max_bytes);
}

}  // namespace headlong
