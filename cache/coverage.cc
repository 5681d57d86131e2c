#include "cache/coverage.h"

#include <algorithm>
#include <map>

#include "common/status.h"

namespace headlong {
namespace {

absl::Status CheckHead(const std::string& name, bool full, std::vector<StripeRange> owners) {
  if (owners.empty()) return absl::InvalidArgumentError(absl::StrCat(name, ": nobody holds it"));
  const int stripes = owners[0].of;
  std::vector<Part> parts;
  for (const StripeRange& owner : owners) {
    if (owner.of != stripes) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": its owners split it into ", stripes,
                                                     " stripes and into ", owner.of));
    }
    parts.push_back({owner.begin, int64_t{owner.begin} + owner.count});
  }
  if (stripes > 1 && !full) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": is a local head, and those are not split"));
  }
  return CheckCoveredOnce(std::move(parts), stripes, absl::StrCat(name, ": stripes"));
}

}  // namespace

absl::Status CheckHeadsCovered(const Plan& plan,
                               std::span<const std::vector<HeldLane>> lanes_by_worker) {
  std::map<LaneId, std::vector<StripeRange>> owners;
  for (const std::vector<HeldLane>& lanes : lanes_by_worker) {
    for (const HeldLane& lane : lanes) owners[lane.id].push_back(lane.stripes);
  }
  for (int layer = 0; layer < plan.layers(); ++layer) {
    for (int head = 0; head < plan.kv_heads(); ++head) {
      RETURN_IF_ERROR(CheckHead(absl::StrCat("placement: layer ", layer, " head ", head),
                                plan.policy(layer, head).full(), owners[{layer, head}]));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckCoveredOnce(std::vector<Part> parts, int64_t total, std::string_view what) {
  std::erase_if(parts, [](const Part& part) { return part.begin >= part.end; });
  std::sort(parts.begin(), parts.end(),
            [](const Part& a, const Part& b) { return a.begin < b.begin; });
  parts.push_back({total, total});
  int64_t next = 0;
  for (const Part& part : parts) {
    if (part.begin > next) {
      return absl::InvalidArgumentError(
          absl::StrCat(Av(what), " [", next, ", ", part.begin, ") of ", total, " are nobody's"));
    }
    if (part.begin < next) {
      return absl::InvalidArgumentError(absl::StrCat(Av(what), " from ", part.begin, " of ", total,
                                                     " are in two shares, or beyond the model"));
    }
    next = part.end;
  }
  return absl::OkStatus();
}

}  // namespace headlong
