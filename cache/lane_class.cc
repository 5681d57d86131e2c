#include "cache/lane_class.h"

#include <algorithm>

#include "cache/check.h"

namespace headlong {

using cache_internal::Check;

std::vector<LaneClass> BuildLaneClasses(const Plan& plan, std::span<const LaneId> heads) {
  std::vector<LaneClass> classes(plan.policies().size());
  for (size_t policy = 0; policy < classes.size(); ++policy) {
    classes[policy].policy = static_cast<int>(policy);
  }
  for (const LaneId& id : heads) {
    Check(id.layer >= 0 && id.layer < plan.layers() && id.head >= 0 && id.head < plan.kv_heads(),
          "a share's heads are heads of the plan");
    classes[plan.policy_index(id.layer, id.head)].lanes.push_back(id);
  }
  std::erase_if(classes, [](const LaneClass& entry) { return entry.lanes.empty(); });
  for (LaneClass& entry : classes) {
    std::sort(entry.lanes.begin(), entry.lanes.end());
    Check(std::adjacent_find(entry.lanes.begin(), entry.lanes.end()) == entry.lanes.end(),
          "a share holds a head once");
  }
  return classes;
}

int64_t PageBytes(const Plan& plan, const LaneClass& lane_class, int head_dim, int element_bytes) {
  const int page_tokens = plan.rule(lane_class.policy, /*prompt_tokens=*/0).page_tokens();
  return static_cast<int64_t>(lane_class.lanes.size()) * 2 * page_tokens * head_dim * element_bytes;
}

int64_t SumBytes(const Plan& plan, const LaneClass& lane_class, int head_dim) {
  if (!plan.rule(lane_class.policy, /*prompt_tokens=*/0).compensates()) return 0;
  return static_cast<int64_t>(lane_class.lanes.size()) * 2 * head_dim * int64_t{sizeof(float)};
}

}  // namespace headlong
