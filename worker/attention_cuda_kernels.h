// Which kernels compute the attention of an epoch on a GPU.
#pragma once

#include "absl/status/statusor.h"
#include "worker/attention_memory_cuda.h"
#include "worker/attention_shape.h"

namespace headlong {

// Prepares them on the current device. INVALID_ARGUMENT names the field for a head_dim that is not
// 64, 80, 96, 128 or 256, more than 16 query heads per KV head, or more plain first tokens of a
// split head than a page has; FAILED_PRECONDITION where no GPU here runs them.
absl::StatusOr<AttentionMemory::Kernels> ChooseKernels(const AttentionShape& attention,
                                                       const CacheShape& cache);

}  // namespace headlong
