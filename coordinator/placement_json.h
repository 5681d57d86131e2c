// A placement as text: what `placement show -o json` prints, read back. Pure.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "cache/plan.h"
#include "headlong/v1/placement.pb.h"
#include "model/config.h"

namespace headlong {

// Reads which worker holds what:
//   {"workers":[{"id":"w0","heads":[{"layer":0,"head":1,"stripe":[2,10]},..],
//                "mlp_columns":[128,..],"vocab_rows":500},..]}
// `stripe` [i, n] is stripe i of n, [0, 1] where it is absent; `mlp_columns` says how many a worker
// has, one number per layer. Columns and rows follow each other in the order of the workers unless
// `mlp_column_ranges` ([begin, end] per layer) and `vocab_row_range` say where they are. Fields
// that only describe (epoch, role, policy, times, bytes, device) may be there: role and policy must
// be those of the plan, the others are not read.
//
// The result has heads with their policy, columns and rows: the model exactly once, without local
// heads that are split. Pages, bytes and times are for Reserve to set. INVALID_ARGUMENT names the
// entry; `source` is how errors name the text.
absl::StatusOr<v1::Placement> PlacementFromJson(std::string_view text, const ModelConfig& config,
                                                const Plan& plan, std::string_view source);

}  // namespace headlong
