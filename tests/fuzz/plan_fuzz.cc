// Any bytes as plan.json: refused with a message, or a plan that survives a round trip and whose
// arithmetic holds.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "cache/plan.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const headlong::PlanShape shape{8, 4, ""};
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto plan = headlong::Plan::FromJson(text, shape, "plan.json");
  if (!plan.ok()) {
    if (plan.status().message().empty()) std::abort();
    return 0;
  }
  const auto again = headlong::Plan::FromJson(plan->ToJson(), shape, "round trip");
  if (!again.ok() || again->ToJson() != plan->ToJson()) std::abort();
  for (int64_t length : {int64_t{0}, int64_t{1}, int64_t{17}, int64_t{1} << 20}) {
    const int64_t bytes = plan->SequenceBytes(length, length / 2, /*head_dim=*/64,
                                              /*element_bytes=*/2);
    if (bytes < 0 || bytes != again->SequenceBytes(length, length / 2, 64, 2)) std::abort();
    for (size_t policy = 0; policy < plan->policies().size(); ++policy) {
      const headlong::LaneRule rule = plan->rule(static_cast<int>(policy), length);
      if (headlong::PagesHeld(rule, length) > headlong::PagesReserved(rule, length)) std::abort();
    }
  }
  return 0;
}
