#include "worker/gpu_limits.h"

#include <optional>

#include "common/status.h"

namespace headlong {
namespace {

absl::Status CheckStorage(const HeadPolicy& policy, Storage own) {
  for (const std::optional<Storage>& side : {policy.storage.keys, policy.storage.values}) {
    if (!side || IsCoded(*side) || *side == own) continue;
    return absl::UnimplementedError(absl::StrCat(
        "policy \"", policy.name, "\": storage in ", Av(StorageName(*side)), " beside a cache in ",
        Av(StorageName(own)),
        ", which attention on a GPU has not: CPU workers have it, start them with --device cpu"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckRunsOnGpu(const ModelConfig& config, const Plan& plan, Storage own) {
  if (config.alibi()) {
    return absl::UnimplementedError(
        absl::StrCat(config.architecture,
                     " has ALiBi, which attention on a GPU has not: models with ALiBi run "
                     "on CPU workers, start them with --device cpu"));
  }
  if (own == Storage::kFloat16) {
    return absl::UnimplementedError(
        "--kv-cache-dtype fp16: attention on a GPU takes caches in bf16 or fp32; CPU workers have "
        "fp16, start them with --device cpu");
  }
  for (int layer = 0; layer < plan.layers(); ++layer) {
    for (int head = 0; head < plan.kv_heads(); ++head) {
      RETURN_IF_ERROR(CheckStorage(plan.policy(layer, head), own));
    }
  }
  return absl::OkStatus();
}

}  // namespace headlong
