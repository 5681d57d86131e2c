#include "cli/model_view.h"

#include "absl/strings/str_cat.h"

namespace headlong {

absl::StatusOr<Plan> PlanOf(const v1::GetModelResponse& model) {
  PlanShape shape;
  shape.layers = static_cast<int>(model.shape().layers());
  shape.kv_heads = static_cast<int>(model.shape().kv_heads());
  absl::StatusOr<Plan> plan = Plan::FromJson(model.plan_json(), shape, "plan of the server");
  if (plan.ok()) return plan;
  return absl::InternalError(plan.status().message());
}

CacheMapParams CacheMapOf(const v1::GetModelResponse& model) {
  CacheMapParams params;
  params.head_dim = static_cast<int>(model.shape().head_dim());
  params.element_bytes = ElementBytes(model.kv_cache_dtype());
  return params;
}

int64_t CachedTokens(const Plan& plan, const CacheMapParams& params, const v1::Usage& usage) {
  const int64_t with_last = static_cast<int64_t>(usage.prompt_tokens()) + usage.completion_tokens();
  const auto bytes = [&](int64_t length) {
    return plan.SequenceBytes(length, usage.prompt_tokens(), params.head_dim, params.element_bytes);
  };
  const int64_t reported = static_cast<int64_t>(usage.cache_bytes());
  return bytes(with_last) != reported && bytes(with_last - 1) == reported ? with_last - 1
                                                                          : with_last;
}

}  // namespace headlong
