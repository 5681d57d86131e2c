#include "coordinator/held_lanes.h"

#include <cstdlib>
#include <utility>

namespace headlong {

std::vector<HeldLane> HeldLanesOf(const v1::WorkerShare& share) {
  std::vector<HeadStripe> stripes;
  for (const v1::HeadShare& head : share.heads()) {
    stripes.push_back({{static_cast<int>(head.layer()), static_cast<int>(head.head())},
                       static_cast<int>(head.stripe_index()),
                       static_cast<int>(head.stripe_count())});
  }
  auto lanes = JoinStripes(std::move(stripes));
  if (!lanes.ok()) std::abort();
  return *std::move(lanes);
}

}  // namespace headlong
