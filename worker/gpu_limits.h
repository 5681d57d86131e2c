// What attention on a GPU does not have today, told before anything is loaded. Pure.
#pragma once

#include "absl/status/status.h"
#include "cache/plan.h"
#include "cache/storage.h"
#include "model/config.h"

namespace headlong {

// UNIMPLEMENTED names what CPU workers have and GPUs have not: ALiBi, codes or ranks beside a cache
// in fp16 (`own`: the cache's own type), heads whose policy stores plain numbers of another type
// than that.
absl::Status CheckRunsOnGpu(const ModelConfig& config, const Plan& plan, Storage own);

}  // namespace headlong
