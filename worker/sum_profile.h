// What a sum over the workers of an epoch costs, measured once they are connected.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "worker/collective.h"

namespace headlong {

struct SumProfile {
  double latency_s = 0;    // of a few numbers
  double bytes_per_s = 0;  // of a long sum, beyond its latency; 0: too fast to tell
};

// Every rank calls it at the same point, with the same `count`: eight sums over the first numbers
// of `x`, at most 256 KiB each. Errors as of Collective::Sum.
absl::StatusOr<SumProfile> MeasureSums(Collective& collective, Activations x, int64_t count);

}  // namespace headlong
