// What a placement is modelled to do, counted from the placement as it goes over the wire and
// nothing else: the figures of `placement show`, `plan` and `simulate`. Pure.
#pragma once

#include "coordinator/placement.h"
#include "headlong/v1/placement.pb.h"

namespace headlong {

// REQUIRES: Place made `placement` for a problem with the same model, plan and workers.
v1::PlacementReport ReportOf(const PlacementProblem& problem, const v1::Placement& placement);

// With the largest context and the largest concurrency that fit: they take as long as placing.
v1::PlacementReport FullReport(const PlacementProblem& problem, const v1::Placement& placement);

// As FullReport, and gives the placement's own figures anew: what is known of the workers, or the
// workload, may be other than when it was made.
v1::PlacementReport Recount(const PlacementProblem& problem, v1::Placement& placement);

// Sum of the report's parts: the modelled step.
double StepMillis(const v1::PlacementReport& report);

}  // namespace headlong
