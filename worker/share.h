// What one worker holds of the model in one epoch, in the form the worker computes with. Made from
// the wire's Placement, checked against the model. Immutable.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cache/lane_class.h"
#include "cache/plan.h"
#include "headlong/v1/placement.pb.h"
#include "model/config.h"
#include "worker/attention_shape.h"

namespace headlong {

struct IndexRange {
  int begin = 0;
  int end = 0;
  int size() const { return end - begin; }
  friend bool operator==(const IndexRange&, const IndexRange&) = default;
};

struct Share {
  int rank = 0;
  int world = 1;
  std::vector<std::vector<int>> heads;  // [layer] -> KV heads held, ascending
  std::vector<HeldLane> lanes;          // all of them, ascending
  std::vector<LayerStripes> stripes;    // [layer]: whose heads are split
  std::vector<IndexRange> mlp_columns;  // [layer]
  IndexRange vocab_rows;
  std::vector<IndexRange> vocab_by_rank;  // of every worker, for gathering logits
  std::vector<int32_t> class_pages;       // in the order of BuildLaneClasses

  bool leader() const { return rank == 0; }
  bool split(int layer) const { return stripes[layer].parts > 0; }
};

// The lanes that a worker's share names. INVALID_ARGUMENT names what is not there or cannot be held
// together.
absl::StatusOr<std::vector<HeldLane>> ReadLanes(const v1::WorkerShare& wire,
                                                const ModelConfig& config);

// The share of worker `rank`. INVALID_ARGUMENT names what does not fit the model and the plan: a
// head, column or row out of range; heads, stripes, MLP columns or vocabulary rows that are not
// there exactly once over all workers; a local head that is split.
absl::StatusOr<Share> MakeShare(const v1::Placement& placement, int rank, const ModelConfig& config,
                                const Plan& plan);

}  // namespace headlong
