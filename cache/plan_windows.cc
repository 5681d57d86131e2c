// A plan for a model with a sliding window: the window bounds every head of its layers, whatever
// the plan says of them.
#include <algorithm>
#include <map>
#include <utility>

#include "cache/check.h"
#include "cache/plan.h"
#include "common/status.h"

namespace headlong {
namespace {

// A sink or a compensation token stands for keys that the model itself does not see.
bool Fits(const HeadPolicy& policy) {
  return policy.full() || (policy.sinks == 0 && policy.compensation == Compensation::kNone);
}

// `policy` in a layer with `window`. Where a prompt is prefilled exactly the prompt's length says
// how long windows are; a full lane then stays one, and attention leaves out what it must not see.
HeadPolicy Bound(HeadPolicy policy, int64_t window, PrefillMode prefill) {
  const bool exact = prefill == PrefillMode::kExact;
  if (exact && policy.full()) return policy;
  policy.sinks = 0;
  policy.compensation = Compensation::kNone;
  if (!exact) policy.window_tokens = std::min(policy.window_tokens.value_or(window), window);
  return policy;
}

bool SameRule(const HeadPolicy& a, const HeadPolicy& b) {
  return a.window_tokens == b.window_tokens && a.sinks == b.sinks &&
         (a.full() || a.compensation == b.compensation);
}

}  // namespace

Plan Plan::BoundedBy(const std::vector<int64_t>& layer_windows) const {
  if (layer_windows.empty()) return *this;
  cache_internal::Check(static_cast<int>(layer_windows.size()) == layers_, "a window per layer");
  const auto taken = [&](const std::string& name) {
    return std::any_of(policies_.begin(), policies_.end(),
                       [&](const HeadPolicy& policy) { return policy.name == name; });
  };
  std::map<std::string, HeadPolicy> policies;
  std::vector<std::string> names;  // [layer * kv_heads + head]
  for (int layer = 0; layer < layers_; ++layer) {
    const int64_t window = layer_windows[layer];
    for (int head = 0; head < kv_heads_; ++head) {
      HeadPolicy chosen = policy(layer, head);
      if (window > 0) chosen = Bound(std::move(chosen), window, prefill_);
      if (!SameRule(chosen, policy(layer, head))) {
        absl::StrAppend(&chosen.name, "@", window);
        while (taken(chosen.name)) chosen.name += "@";
      }
      names.push_back(chosen.name);
      policies.emplace(chosen.name, std::move(chosen));
    }
  }
  Plan bounded = *this;
  bounded.policies_.clear();
  for (const auto& [name, entry] : policies) bounded.policies_.push_back(entry);
  if (!policies.contains(default_policy_)) bounded.default_policy_ = policies.begin()->first;
  for (size_t i = 0; i < names.size(); ++i) {
    bounded.heads_[i] = static_cast<int>(std::distance(policies.begin(), policies.find(names[i])));
  }
  return bounded;
}

absl::Status Plan::CheckWindows(const std::vector<int64_t>& layer_windows) const {
  for (int layer = 0; layer < static_cast<int>(layer_windows.size()); ++layer) {
    if (layer_windows[layer] == 0) continue;
    for (int head = 0; head < kv_heads_; ++head) {
      if (Fits(policy(layer, head))) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("plan: layer ", layer, " head ", head, ": the model's sliding window of ",
                       layer_windows[layer], " tokens bounds every head, but policy \"",
                       policy(layer, head).name, "\" has sinks or a compensation token"));
    }
  }
  return absl::OkStatus();
}

}  // namespace headlong
