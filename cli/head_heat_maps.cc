#include "cli/head_heat_maps.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/quantity.h"

namespace headlong {
namespace {

constexpr double kNotMeasured = std::numeric_limits<double>::quiet_NaN();
constexpr double kMostDecades = 4;

HeatMap HeadsOf(const PlanShape& shape, const std::string& title) {
  HeatMap map;
  map.title = title;
  map.column_name = "layer";
  map.row_name = "head";
  for (int layer = 0; layer < shape.layers; ++layer) map.columns.push_back(absl::StrCat(layer));
  for (int head = 0; head < shape.kv_heads; ++head) map.rows.push_back(absl::StrCat(head));
  map.cells.resize(map.columns.size() * map.rows.size());
  return map;
}

std::string HeadName(size_t index, int kv_heads) {
  return absl::StrCat("layer ", index / kv_heads, " head ", index % kv_heads);
}

// Whether `a` says more about a head than `b`: the smaller window; of equal ones, compensated.
bool Narrower(const HeadCost& a, const HeadCost& b) {
  if (a.window_tokens != b.window_tokens) return a.window_tokens < b.window_tokens;
  return a.compensation && !b.compensation;
}

// "2.13", ".041", "3e-4": at most four characters.
std::string ShortNumber(double value) {
  if (value <= 0) return "0";
  if (value < 0.0095) {
    const double decade = std::floor(std::log10(value));
    return absl::StrFormat("%.0fe%.0f", value / std::pow(10, decade), decade);
  }
  if (value < 0.995) return absl::StrFormat("%.2f", value).substr(1);
  return absl::StrFormat(value < 9.95 ? "%.1f" : "%.0f", value);
}

}  // namespace

HeatMap ScoreMap(const std::vector<double>& scores, const PlanShape& shape,
                 const std::string& title) {
  HeatMap map = HeadsOf(shape, title);
  for (size_t i = 0; i < map.cells.size(); ++i) {
    map.cells[i] = {std::clamp(scores[i], 0.0, 1.0), absl::StrFormat("%.0f", 100 * scores[i]),
                    absl::StrFormat("%s: %.4f", HeadName(i, shape.kv_heads), scores[i])};
  }
  return map;
}

HeatMap ScopeMap(const Evidence& evidence) {
  HeatMap map = HeadsOf(evidence.shape, "scope in tokens: further away a key's share is nothing");
  map.high = FormatCount(evidence.context);
  for (size_t i = 0; i < map.cells.size(); ++i) {
    const double scope = evidence.scopes[i];
    const std::string count = FormatCount(static_cast<int64_t>(std::ceil(scope)));
    map.cells[i] = {std::clamp(scope / static_cast<double>(evidence.context), 0.0, 1.0), count,
                    absl::StrCat(HeadName(i, evidence.shape.kv_heads), ": ", count, " tokens")};
  }
  return map;
}

HeatMap CostMap(const Evidence& evidence) {
  HeatMap map = HeadsOf(evidence.shape, "");
  std::vector<const HeadCost*> shown(map.cells.size(), nullptr);
  for (const HeadCost& cost : evidence.costs) {
    if (cost.window_tokens == 0) continue;  // it keeps everything, as codes
    const HeadCost*& best = shown[cost.layer * evidence.shape.kv_heads + cost.head];
    if (best == nullptr || Narrower(cost, *best)) best = &cost;
  }
  double highest = 0, lowest = std::numeric_limits<double>::infinity();
  for (const HeadCost* cost : shown) {
    if (cost == nullptr || cost->kl <= 0) continue;
    highest = std::max(highest, cost->kl);
    lowest = std::min(lowest, cost->kl);
  }
  if (highest <= 0) highest = lowest = 1;
  lowest = std::min(std::max(lowest, highest * std::pow(10, -kMostDecades)), highest / 10);
  map.title = "what each head costs when it alone is local (mean KL, nats per token)";
  map.low = ShortNumber(lowest);
  map.high = ShortNumber(highest);
  for (size_t i = 0; i < shown.size(); ++i) {
    if (shown[i] == nullptr) {
      map.cells[i] = {kNotMeasured, "?",
                      absl::StrCat(HeadName(i, map.rows.size()), ": not measured")};
      continue;
    }
    const double kl = std::max(shown[i]->kl, 0.0);
    const double value = kl > 0 ? std::log(kl / lowest) / std::log(highest / lowest) : 0;
    map.cells[i] = {
        std::clamp(value, 0.0, 1.0), ShortNumber(kl),
        absl::StrFormat("%s: %.3g with %d sinks, window %d%s", HeadName(i, map.rows.size()), kl,
                        shown[i]->sinks, shown[i]->window_tokens,
                        shown[i]->compensation ? "" : ", no compensation token")};
  }
  return map;
}

HeatMap KeptMap(const Evidence& evidence, const Plan& plan, const std::string& title) {
  HeatMap map = HeadsOf(evidence.shape, title);
  const double full = static_cast<double>(
      LaneBytes({}, evidence.context, evidence.head_dim, evidence.element_bytes));
  for (size_t i = 0; i < map.cells.size(); ++i) {
    const int layer = static_cast<int>(i) / plan.kv_heads();
    const int head = static_cast<int>(i) % plan.kv_heads();
    const LaneRule rule = plan.rule(plan.policy_index(layer, head), evidence.context);
    const double share = static_cast<double>(LaneBytes(rule, evidence.context, evidence.head_dim,
                                                       evidence.element_bytes)) /
                         full;
    map.cells[i] = {std::min(share, 1.0), absl::StrFormat("%.0f", 100 * share),
                    absl::StrCat(HeadName(i, plan.kv_heads()), ": ", FormatPercent(share), ", ",
                                 plan.policy(layer, head).name)};
  }
  map.low = "0 %";
  map.high = "100 %";
  return map;
}

}  // namespace headlong
