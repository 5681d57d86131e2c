// Small problems completely. Pure.
#pragma once

#include <optional>
#include <vector>

#include "coordinator/placement_model.h"

namespace headlong {

// The fastest placement of whole heads; nothing when none fits, or when there are more than a few
// thousand of them.
std::optional<std::vector<LayerParts>> SearchAll(const PlacementModel& model);

}  // namespace headlong
