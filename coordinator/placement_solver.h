// Finds the parts of every layer for a cost model: greedy, layer by layer, with each worker's speed
// lowered as far as its memory is short; then sweeps that place layers anew while that pays. Where
// memory is tight, packing by memory alone is the fallback, so what fits is found. Pure.
#pragma once

#include <optional>
#include <vector>

#include "coordinator/placement_fluid.h"
#include "coordinator/placement_model.h"

namespace headlong {

struct Solution {
  std::vector<LayerParts> layers;
  std::vector<int64_t> left;  // memory beside the heads, by worker
  FluidShares fluid;
  double seconds = 0;  // of a step, sums included
};

// Nothing when no placement was found that fits (PackByMemory).
std::optional<Solution> Solve(const PlacementModel& model, bool stripes);

}  // namespace headlong
