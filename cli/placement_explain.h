// Why a placement is as it is: what each worker is held back by, and where one head lies. From the
// placement and its report alone. Pure.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "cli/admin_verb.h"
#include "headlong/v1/admin.pb.h"

namespace headlong {

// `about`: empty, a worker's id, or LAYER.HEAD. NOT_FOUND when it is none of the placement's;
// FAILED_PRECONDITION without a report.
absl::StatusOr<AdminView> ExplainPlacement(const v1::GetPlacementResponse& placed,
                                           const v1::ListWorkersResponse& workers,
                                           const std::string& about);

}  // namespace headlong
