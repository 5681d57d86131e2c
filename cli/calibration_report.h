// What calibration measured and chose: a page with pictures, a summary for the terminal, and its
// numbers as JSON. Pure.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "cli/json_output.h"
#include "cli/text_grid.h"
#include "coordinator/calibration/evidence_json.h"

namespace headlong {

// One HTML page without outside resources, for light and dark screens. Parts that were not measured
// are left out. INVALID_ARGUMENT: costs that the optimiser refuses.
absl::StatusOr<std::string> ReportHtml(const Evidence& evidence);

// Single pictures of the page, as files of their own. INVALID_ARGUMENT: what they show was not
// measured, or costs that the optimiser refuses.
absl::StatusOr<std::string> CurveSvg(const Evidence& evidence);
absl::StatusOr<std::string> InductionSvg(const Evidence& evidence);

// Maps of scores and costs, and the plans that were measured.
std::string ReportText(const Evidence& evidence, const MapStyle& style);

// {"model","context","full_cache_bytes","plans":[{"name","cache_bytes","share","retrieval_heads",
// "kl","predicted_kl","recall"}]}; predicted_kl is null where a choice was not measured by itself,
// recall where no needles were.
OutputJson ReportJson(const Evidence& evidence);

}  // namespace headlong
