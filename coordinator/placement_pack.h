// Heads by memory alone: whether they fit at all, and a placement of them that does. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "coordinator/placement_model.h"

namespace headlong {

// Parts by layer that leave room for columns and rows; nothing when none was found. What is found
// is spread evenly over layers. Small problems with whole heads are searched completely.
std::optional<std::vector<LayerParts>> PackByMemory(const PlacementModel& model, bool stripes);

}  // namespace headlong
