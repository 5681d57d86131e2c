// Placements as JSON (DESIGN section 12) and as text. Pure.
#pragma once

#include <string>

#include "cli/json_output.h"
#include "headlong/v1/placement.pb.h"

namespace headlong {

// Every head and stripe, MLP column and vocabulary row of every worker; with the report its
// workload, its parts of the step and every worker's time in every layer.
OutputJson PlacementJson(const v1::Placement& placement, const v1::PlacementReport& report);

// One line per worker, where it is wide with its times, then what is modelled.
std::string PlacementText(const v1::Placement& placement, const v1::PlacementReport& report,
                          bool wide = false);

// Ids of the workers, one a line, by rank.
std::string PlacementNames(const v1::Placement& placement);

}  // namespace headlong
