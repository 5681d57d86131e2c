#include "coordinator/calibration/plan_steps.h"

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

#include "common/status.h"
#include "coordinator/calibration/choices.h"

namespace headlong {
namespace {

// Another option for one head; by how much bytes and cost change.
struct Change {
  size_t head = 0;
  size_t option = 0;
  int64_t bytes = 0;
  double kl = 0;
};

// A change alone, or one that gives bytes to the next.
struct Step {
  double kl = 0;
  Change first;
  std::optional<Change> second;
  auto order() const {
    return std::tuple(kl, first.head, first.option, second ? second->head + 1 : 0,
                      second ? second->option : 0);
  }
};

bool SamePolicy(HeadPolicy a, const HeadPolicy& b) {
  a.name = b.name;
  return a == b;
}

// Of heads whose policy is one of their options.
std::vector<Change> ChangesOf(const std::vector<Options>& heads, const Plan& plan) {
  std::vector<Change> changes;
  for (size_t head = 0; head < heads.size(); ++head) {
    const int kv_heads = plan.kv_heads(), at = static_cast<int>(head);
    const HeadPolicy& policy = plan.policy(at / kv_heads, at % kv_heads);
    const auto now =
        std::find_if(heads[head].begin(), heads[head].end(),
                     [&](const Option& option) { return SamePolicy(option.policy, policy); });
    if (now == heads[head].end()) continue;
    for (size_t i = 0; i < heads[head].size(); ++i) {
      const Option& option = heads[head][i];
      if (&option != &*now) {
        changes.push_back({head, i, option.bytes - now->bytes, option.kl - now->kl});
      }
    }
  }
  return changes;
}

bool ComesBefore(const Step& a, const Step& b) { return a.order() < b.order(); }

// The first `most` steps, in order. Of a large model there are millions of pairs of changes, of
// which few are kept at a time.
class FirstSteps {
 public:
  explicit FirstSteps(size_t most) : most_(most) {}

  void Add(Step step) {
    steps_.push_back(std::move(step));
    if (steps_.size() >= 2 * most_ + kSpare) Cut();
  }
  std::vector<Step> Take() {
    Cut();
    std::sort(steps_.begin(), steps_.end(), ComesBefore);
    return std::move(steps_);
  }

 private:
  static constexpr size_t kSpare = 1024;

  void Cut() {
    if (steps_.size() <= most_) return;
    const auto end = steps_.begin() + static_cast<int64_t>(most_);
    std::nth_element(steps_.begin(), end, steps_.end(), ComesBefore);
    steps_.erase(end, steps_.end());
  }

  const size_t most_;
  std::vector<Step> steps_;
};

std::vector<Step> StepsOf(const std::vector<Change>& changes, int64_t room, int most) {
  FirstSteps steps(static_cast<size_t>(most));
  for (const Change& more : changes) {
    if (more.bytes <= room) steps.Add({more.kl, more, std::nullopt});
    if (more.bytes <= 0) continue;
    for (const Change& fewer : changes) {
      if (fewer.bytes >= 0 || fewer.head == more.head) continue;
      if (more.bytes + fewer.bytes <= room) steps.Add({more.kl + fewer.kl, more, fewer});
    }
  }
  return steps.Take();
}

}  // namespace

absl::StatusOr<std::vector<Plan>> PlanSteps(const PlanShape& shape,
                                            const std::vector<HeadCost>& costs,
                                            const Budget& budget, const Plan& plan,
                                            int64_t max_bytes, int most) {
  ASSIGN_OR_RETURN(const std::vector<Options> heads, OptionsByHead(shape, costs, budget));
  const int64_t bytes =
      plan.SequenceBytes(budget.context, budget.context, budget.head_dim, budget.element_bytes);
  const std::vector<Step> steps = StepsOf(ChangesOf(heads, plan), max_bytes - bytes, most);
  std::vector<HeadPolicy> policies;
  for (int layer = 0; layer < plan.layers(); ++layer) {
    for (int head = 0; head < plan.kv_heads(); ++head) policies.push_back(plan.policy(layer, head));
  }
  std::vector<Plan> plans;
  for (const Step& step : steps) {
    std::vector<HeadPolicy> changed = policies;
    changed[step.first.head] = heads[step.first.head][step.first.option].policy;
    if (const std::optional<Change>& second = step.second) {
      changed[second->head] = heads[second->head][second->option].policy;
    }
    plans.push_back(Plan::FromPolicies(shape, changed));
  }
  return plans;
}

}  // namespace headlong
