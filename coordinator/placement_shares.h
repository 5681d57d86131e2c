// The arithmetic of placements: what each part of a model weighs, and shares in proportion. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cache/lane_class.h"
#include "coordinator/placement.h"

namespace headlong {

// Bytes of one KV head's weights (q of its group, k, v, and its columns of the output), and of the
// fp32 rows that its policy projects or turns keys and values by.
int64_t HeadWeightBytes(const PlacementProblem& problem, int policy);
// Of all of these, stripes of one head as one head each.
int64_t HeadsWeightBytes(const PlacementProblem& problem, std::span<const HeldLane> lanes);
// One MLP column in one layer: a row of gate and of up, a column of down.
int64_t ColumnWeightBytes(const PlacementProblem& problem);
// One vocabulary row: fp32 input embedding and its row of the output projection.
int64_t VocabRowBytes(const PlacementProblem& problem);
// Norm vectors, held by every worker.
int64_t NormBytes(const PlacementProblem& problem);

// Cache bytes a lane reserves for `sequences` of max_context, with what is beside its pages.
int64_t LaneReservedBytes(const PlacementProblem& problem, int policy, int sequences);
// Of these, what does not grow with pages: of all sequences that may run.
int64_t LaneSlotsBytes(const PlacementProblem& problem, int policy);
// Cache bytes that a decode step reads of one lane at the workload's context.
int64_t LaneReadBytes(const PlacementProblem& problem, int policy);

// Speeds within a factor of 1.3 of a faster worker's count as that worker's: what is measured at
// start is noisy, and equal machines should get equal shares.
std::vector<double> Levelled(const std::vector<double>& measured);
std::vector<double> LevelledSpeeds(const std::vector<PlacementWorker>& workers);

// Splits `total` units over workers in proportion to `weights`, none above its cap; what capped
// workers cannot take goes to the others. Empty when the caps are too small together.
std::vector<int64_t> Apportion(int64_t total, const std::vector<double>& weights,
                               const std::vector<int64_t>& caps);

}  // namespace headlong
