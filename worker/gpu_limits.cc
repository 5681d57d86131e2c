#include "worker/gpu_limits.h"

#include <optional>

#include "common/status.h"

namespace headlong {
namespace {

absl::Status CheckStorage(const HeadPolicy& policy, Storage own) {
  if (own == Storage::kFloat16 && policy.rank.projected()) {
    return absl::UnimplementedError(absl::StrCat(
        "policy \"", policy.name,
        "\": rank beside a cache in fp16, which attention on a GPU has not: CPU workers have it, "
        "start them with --device cpu"));
  }
  for (const std::optional<Storage>& side : {policy.storage.keys, policy.storage.values}) {
    if (!side || *side == own || (IsCoded(*side) && own != Storage::kFloat16)) continue;
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
  for (int layer = 0; layer < plan.layers(); ++layer) {
    for (int head = 0; head < plan.kv_heads(); ++head) {
      RETURN_IF_ERROR(CheckStorage(plan.policy(layer, head), own));
    }
  }
  return absl::OkStatus();
}

}  // namespace headlong
