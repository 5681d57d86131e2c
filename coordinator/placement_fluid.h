// MLP columns and vocabulary rows in whole units: who takes how many of what memory is left. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "coordinator/placement_model.h"

namespace headlong {

struct FluidShares {
  std::vector<int64_t> columns;  // by worker: units of PlacementModel::columns, all layers together
  std::vector<int64_t> rows;     // by worker
};

// The fastest division found; nothing when `left` cannot take all units.
std::optional<FluidShares> DivideFluid(const PlacementModel& model, std::span<const int64_t> left);
// Time of both in a step: columns layer by layer, as SpreadOverLayers spreads them, and rows.
double FluidSeconds(const PlacementModel& model, const FluidShares& shares);
// True when `left` can take all units.
bool FluidFits(const PlacementModel& model, std::span<const int64_t> left);

// Units of each layer by worker, [layer][worker]: every layer covered exactly, every worker's total
// kept, its layers within one unit of each other wherever possible.
std::vector<std::vector<int64_t>> SpreadOverLayers(const std::vector<int64_t>& totals, int layers);

}  // namespace headlong
