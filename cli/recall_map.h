// Recall of planted facts as the familiar picture: length x depth, red to green. Pure.
#pragma once

#include <string>
#include <vector>

#include "cli/heat_map.h"
#include "coordinator/calibration/evidence_json.h"

namespace headlong {

// Cells that no trial fell into are not measured. A depth below 0 stands for prompts of the user's
// own, of which no depth is known.
HeatMap RecallMap(const std::vector<RecallCell>& cells, const std::string& title);

}  // namespace headlong
