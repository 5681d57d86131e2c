// Places the heads of one layer: whole ones by longest time first, then, where that leaves workers
// waiting, retrieval heads poured over workers as stripes. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "coordinator/placement_model.h"

namespace headlong {

struct LayerTask {
  const PlacementModel* model = nullptr;
  int layer = 0;
  // By worker, >= 1: how much dearer its time is because its memory is needed elsewhere.
  std::span<const double> slow;
  std::span<const int64_t> left;  // memory that parts may take
  double byte_price = 0;          // seconds of the step that a byte of memory costs
  bool stripes = true;            // heads may be split
};

// Nothing when the heads do not fit (into the room one after the other, largest first).
std::optional<LayerParts> PlaceLayer(const LayerTask& task);

// Whole numbers of stripes in proportion to `shares` (which add up to 1), each at least 1; as few
// in all as come within `tolerance` of every share, else the closest. At most `most`, or one each.
std::vector<int> StripeCounts(const std::vector<double>& shares, double tolerance, int most);

}  // namespace headlong
