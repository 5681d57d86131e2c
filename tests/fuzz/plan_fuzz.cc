// Any bytes as plan.json: refused with a message, or a plan that survives a round trip, whose
// arithmetic holds, and that a model's sliding windows bound.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "cache/plan.h"
#include "tests/fuzz/require.h"

using headlong::Plan;
using headlong::Require;

namespace {

constexpr int kHeadDim = 64;
constexpr int kElementBytes = 2;

void CheckArithmetic(const Plan& plan) {
  for (int64_t length : {int64_t{0}, int64_t{1}, int64_t{17}, int64_t{1} << 20}) {
    const int64_t bytes = plan.SequenceBytes(length, length / 2, kHeadDim, kElementBytes);
    Require(bytes >= 0);
    for (size_t policy = 0; policy < plan.policies().size(); ++policy) {
      const headlong::LaneRule rule = plan.rule(static_cast<int>(policy), length);
      Require(headlong::PagesHeld(rule, length) <= headlong::PagesReserved(rule, length));
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const headlong::PlanShape shape{8, 4, ""};
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto plan = Plan::FromJson(text, shape, "plan.json");
  if (!plan.ok()) {
    Require(!plan.status().message().empty());
    return 0;
  }
  const auto again = Plan::FromJson(plan->ToJson(), shape, "round trip");
  Require(again.ok() && again->ToJson() == plan->ToJson());
  CheckArithmetic(*plan);
  const std::vector<int64_t> windows{0, 1, 0, 64, 4096, 0, int64_t{1} << 40, 64};
  const Plan bounded = plan->BoundedBy(windows);
  Require(bounded.CheckWindows(windows).ok());
  Require(bounded.BoundedBy(windows).ToJson() == bounded.ToJson());
  CheckArithmetic(bounded);
  return 0;
}
