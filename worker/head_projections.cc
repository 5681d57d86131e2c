#include "worker/head_projections.h"

#include <algorithm>
#include <map>
#include <utility>

#include "common/status.h"

namespace headlong {
namespace {

using Sent = std::map<std::pair<int, int>, const v1::HeadProjection*>;

absl::StatusOr<std::vector<float>> Rows(const google::protobuf::RepeatedField<float>& sent,
                                        int rank, int head_dim) {
  if (sent.size() == rank * head_dim) return std::vector<float>(sent.begin(), sent.end());
  return absl::InvalidArgumentError(
      absl::StrCat(sent.size(), " numbers instead of ", rank, " x ", head_dim));
}

absl::StatusOr<HeadProjections> ProjectionOf(const HeadPolicy& policy, const Sent& sent,
                                             std::pair<int, int> place, int head_dim) {
  if (policy.rotation == Rotation::kHadamard) {
    std::vector<float> rows = HadamardRows(head_dim);
    return HeadProjections{rows, rows};
  }
  HeadProjections head;
  if (!policy.rank.projected()) return head;
  const auto found = sent.find(place);
  if (found == sent.end()) return absl::InvalidArgumentError("is missing");
  ASSIGN_OR_RETURN(head.keys, Rows(found->second->keys(), policy.rank.keys, head_dim));
  ASSIGN_OR_RETURN(head.values, Rows(found->second->values(), policy.rank.values, head_dim));
  return head;
}

}  // namespace

absl::StatusOr<std::vector<std::vector<HeadProjections>>> ProjectionsOf(
    const Plan& plan, const std::vector<std::vector<int>>& heads, const v1::Configure& configure,
    int head_dim) {
  std::vector<std::vector<HeadProjections>> result;
  const bool any = std::any_of(plan.policies().begin(), plan.policies().end(), [](const auto& p) {
    return p.rank.projected() || p.rotation != Rotation::kNone;
  });
  if (!any) return result;
  Sent sent;
  for (const v1::HeadProjection& projection : configure.projections()) {
    sent[{static_cast<int>(projection.layer()), static_cast<int>(projection.head())}] = &projection;
  }
  for (int layer = 0; layer < static_cast<int>(heads.size()); ++layer) {
    std::vector<HeadProjections>& held = result.emplace_back();
    for (const int head : heads[layer]) {
      auto projection = ProjectionOf(plan.policy(layer, head), sent, {layer, head}, head_dim);
      if (!projection.ok()) {
        return Annotate(projection.status(),
                        absl::StrCat("configure: projection of layer ", layer, " head ", head));
      }
      held.push_back(*std::move(projection));
    }
  }
  return result;
}

}  // namespace headlong
