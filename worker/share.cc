#include "worker/share.h"

#include <utility>

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

absl::Status ReadHeads(const v1::WorkerShare& wire, const ModelConfig& config, Share& share) {
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
  ASSIGN_OR_RETURN(share.lanes, JoinStripes(std::move(stripes)));
  share.heads.resize(config.layers);
  for (const HeldLane& lane : share.lanes) share.heads[lane.id.layer].push_back(lane.id.head);
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

absl::StatusOr<Share> MakeShare(const v1::Placement& placement, int rank,
                                const ModelConfig& config) {
  if (rank < 0 || rank >= placement.workers_size()) {
    return absl::InvalidArgumentError(absl::StrCat("placement: no worker of rank ", rank));
  }
  Share share;
  share.rank = rank;
  share.world = placement.workers_size();
  const v1::WorkerShare& own = placement.workers(rank);
  RETURN_IF_ERROR(ReadHeads(own, config, share));
  if (own.mlp_columns_size() != config.layers) {
    return absl::InvalidArgumentError(absl::StrCat("placement: MLP columns of ",
                                                   own.mlp_columns_size(), " layers instead of ",
                                                   config.layers));
  }
  for (const v1::Range& range : own.mlp_columns()) {
    ASSIGN_OR_RETURN(IndexRange columns,
                     CheckRange(range, config.intermediate_size, "MLP columns"));
    share.mlp_columns.push_back(columns);
  }
  for (const v1::WorkerShare& worker : placement.workers()) {
    ASSIGN_OR_RETURN(IndexRange rows,
                     CheckRange(worker.vocab_rows(), config.vocab_size, "vocabulary rows"));
    share.vocab_by_rank.push_back(rows);
  }
  RETURN_IF_ERROR(CheckCoverage(share.vocab_by_rank, config.vocab_size));
  share.vocab_rows = share.vocab_by_rank[rank];
  share.class_pages.assign(own.class_pages().begin(), own.class_pages().end());
  return share;
}

}  // namespace headlong
