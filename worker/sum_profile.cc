#include "worker/sum_profile.h"

#include <algorithm>
#include <chrono>

#include "common/status.h"

namespace headlong {
namespace {

constexpr int64_t kFewFloats = 16;
constexpr int64_t kManyFloats = 64 << 10;
constexpr int kTrials = 4;

// The fastest of kTrials; the first ones warm up connections.
absl::StatusOr<double> BestSeconds(Collective& collective, Activations x, int64_t count) {
  double best = 1e30;
  for (int trial = 0; trial < kTrials; ++trial) {
    const auto begin = std::chrono::steady_clock::now();
    RETURN_IF_ERROR(collective.Sum(x, count));
    RETURN_IF_ERROR(collective.Wait());
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    best = std::min(best, taken.count());
  }
  return best;
}

}  // namespace

absl::StatusOr<SumProfile> MeasureSums(Collective& collective, Activations x, int64_t count) {
  const int64_t many = std::min(count, kManyFloats);
  SumProfile profile;
  ASSIGN_OR_RETURN(profile.latency_s, BestSeconds(collective, x, std::min(many, kFewFloats)));
  ASSIGN_OR_RETURN(const double seconds, BestSeconds(collective, x, many));
  const double beyond = seconds - profile.latency_s;
  if (beyond > 0) profile.bytes_per_s = static_cast<double>(many) * sizeof(float) / beyond;
  return profile;
}

}  // namespace headlong
