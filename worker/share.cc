#include "worker/share.h"

#include <algorithm>
#include <map>
#include <utility>

#include "cache/coverage.h"
#include "common/status.h"

namespace headlong {
namespace {

absl::StatusOr<IndexRange> CheckRange(const v1::Range& range, int limit, const char* what) {
  if (range.begin() > range.end() || range.end() > static_cast<uint32_t>(limit)) {
    return absl::InvalidArgumentError(absl::StrCat("placement: ", what, " [", range.begin(), ", ",
                                                   range.end(), ") is not inside [0, ", limit,
                                                   ")"));
  }
  return IndexRange{static_cast<int>(range.begin()), static_cast<int>(range.end())};
}

// Heads of all workers: the own ones, and which are split.
absl::Status ReadHeads(const v1::Placement& placement, const ModelConfig& config, const Plan& plan,
                       Share& share) {
  std::vector<std::vector<HeldLane>> lanes;
  for (const v1::WorkerShare& worker : placement.workers()) {
    ASSIGN_OR_RETURN(lanes.emplace_back(), ReadLanes(worker, config));
  }
  RETURN_IF_ERROR(CheckHeadsCovered(plan, lanes));
  share.lanes = lanes[share.rank];
  share.heads.resize(config.layers);
  for (const HeldLane& lane : share.lanes) share.heads[lane.id.layer].push_back(lane.id.head);
  std::map<LaneId, std::vector<int>> owners;  // of the split heads, ranks ascending
  for (int rank = 0; rank < share.world; ++rank) {
    for (const HeldLane& lane : lanes[rank]) {
      if (!lane.stripes.whole()) owners[lane.id].push_back(rank);
    }
  }
  share.stripes.resize(config.layers);
  for (const auto& [id, ranks] : owners) {
    LayerStripes& layer = share.stripes[id.layer];
    const auto own = std::find(ranks.begin(), ranks.end(), share.rank) - ranks.begin();
    const std::vector<int>& heads = share.heads[id.layer];
    StripePart part;
    part.head =
        static_cast<int32_t>(std::find(heads.begin(), heads.end(), id.head) - heads.begin());
    part.part = static_cast<int32_t>(layer.parts + own);
    part.first_part = layer.parts;
    part.owners = static_cast<int32_t>(std::ssize(ranks));
    layer.parts += part.owners;
    if (own < std::ssize(ranks)) layer.own.push_back(part);
  }
  return absl::OkStatus();
}

absl::Status ReadColumns(const v1::Placement& placement, const ModelConfig& config, Share& share) {
  std::vector<std::vector<Part>> parts(config.layers);
  for (int rank = 0; rank < share.world; ++rank) {
    const v1::WorkerShare& worker = placement.workers(rank);
    if (worker.mlp_columns_size() != config.layers) {
      return absl::InvalidArgumentError(absl::StrCat("placement: MLP columns of ",
                                                     worker.mlp_columns_size(),
                                                     " layers instead of ", config.layers));
    }
    for (int layer = 0; layer < config.layers; ++layer) {
      ASSIGN_OR_RETURN(
          const IndexRange columns,
          CheckRange(worker.mlp_columns(layer), config.intermediate_size, "MLP columns"));
      parts[layer].push_back({columns.begin, columns.end});
      if (rank == share.rank) share.mlp_columns.push_back(columns);
    }
  }
  for (int layer = 0; layer < config.layers; ++layer) {
    RETURN_IF_ERROR(CheckCoveredOnce(std::move(parts[layer]), config.intermediate_size,
                                     absl::StrCat("placement: layer ", layer, ": MLP columns")));
  }
  return absl::OkStatus();
}

absl::Status CheckCoverage(const std::vector<IndexRange>& ranges, int limit) {
  int next = 0;
  for (const IndexRange& range : ranges) {
    if (range.size() == 0) continue;
    if (range.begin != next) {
      return absl::InvalidArgumentError(
          absl::StrCat("placement: vocabulary rows do not go on at ", next));
    }
    next = range.end;
  }
  if (next == limit) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("placement: vocabulary rows end at ", next, " of ", limit));
}

}  // namespace

absl::StatusOr<std::vector<HeldLane>> ReadLanes(const v1::WorkerShare& wire,
                                                const ModelConfig& config) {
  std::vector<HeadStripe> stripes;
  for (const v1::HeadShare& head : wire.heads()) {
    if (head.layer() >= static_cast<uint32_t>(config.layers) ||
        head.head() >= static_cast<uint32_t>(config.kv_heads)) {
      return absl::InvalidArgumentError(
          absl::StrCat("placement: no head ", head.head(), " in layer ", head.layer()));
    }
    stripes.push_back({{static_cast<int>(head.layer()), static_cast<int>(head.head())},
                       static_cast<int>(head.stripe_index()),
                       static_cast<int>(head.stripe_count())});
  }
  return JoinStripes(std::move(stripes));
}

absl::StatusOr<Share> MakeShare(const v1::Placement& placement, int rank, const ModelConfig& config,
                                const Plan& plan) {
  if (rank < 0 || rank >= placement.workers_size()) {
    return absl::InvalidArgumentError(absl::StrCat("placement: no worker of rank ", rank));
  }
  Share share;
  share.rank = rank;
  share.world = placement.workers_size();
  RETURN_IF_ERROR(ReadHeads(placement, config, plan, share));
  RETURN_IF_ERROR(ReadColumns(placement, config, share));
  for (const v1::WorkerShare& worker : placement.workers()) {
    ASSIGN_OR_RETURN(IndexRange rows,
                     CheckRange(worker.vocab_rows(), config.vocab_size, "vocabulary rows"));
    share.vocab_by_rank.push_back(rows);
  }
  RETURN_IF_ERROR(CheckCoverage(share.vocab_by_rank, config.vocab_size));
  share.vocab_rows = share.vocab_by_rank[rank];
  const v1::WorkerShare& own = placement.workers(rank);
  share.class_pages.assign(own.class_pages().begin(), own.class_pages().end());
  return share;
}

}  // namespace headlong
