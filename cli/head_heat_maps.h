// The heads of a model as heat maps, layer x head: scores, costs, and what a plan keeps. Pure.
#pragma once

#include <string>
#include <vector>

#include "cli/heat_map.h"
#include "coordinator/calibration/evidence_json.h"

namespace headlong {

// `scores` in [0, 1], by layer * kv_heads + head; labels are hundredths.
HeatMap ScoreMap(const std::vector<double>& scores, const PlanShape& shape,
                 const std::string& title);

// How far each head of a model with ALiBi sees, Evidence::scopes; colours are its share of
// Evidence::context.
HeatMap ScopeMap(const Evidence& evidence);

// What each head costs at the fewest bytes that were measured for it: its smallest window, with a
// compensation token where both were. Colours are logarithmic, over at most four decades.
// REQUIRES: a cost.
HeatMap CostMap(const Evidence& evidence);

// The share of a full lane that each head keeps at Evidence::context.
HeatMap KeptMap(const Evidence& evidence, const Plan& plan, const std::string& title);

}  // namespace headlong
