#include "worker/solo.h"

namespace headlong {

std::vector<LaneClass> WholeClasses(const Plan& plan) {
  std::vector<LaneId> lanes;
  for (int layer = 0; layer < plan.layers(); ++layer) {
    for (int head = 0; head < plan.kv_heads(); ++head) lanes.push_back({layer, head});
  }
  return BuildLaneClasses(plan, lanes);
}

v1::Configure ConfigureSolo(const ModelConfig& config, const Plan& plan, const SoloLimits& limits) {
  v1::Configure configure;
  configure.set_epoch(1);
  configure.set_plan_json(plan.ToJson());
  configure.set_max_sequences(limits.max_sequences);
  configure.set_max_context(static_cast<uint32_t>(limits.max_context));
  configure.set_max_batch_tokens(limits.max_batch_tokens);
  v1::WorkerShare& share = *configure.mutable_placement()->add_workers();
  share.set_worker_id("w0");
  for (int layer = 0; layer < config.layers; ++layer) {
    for (int head = 0; head < config.kv_heads; ++head) {
      v1::HeadShare& wire = *share.add_heads();
      wire.set_layer(layer);
      wire.set_head(head);
      wire.set_stripe_count(1);
    }
    share.add_mlp_columns()->set_end(config.intermediate_size);
  }
  share.mutable_vocab_rows()->set_end(config.vocab_size);
  for (const LaneClass& lane_class : WholeClasses(plan)) {
    const LaneRule rule = lane_class.rule(plan, limits.max_context);
    const int64_t pages = PagesReserved(rule, limits.max_context) * limits.max_sequences;
    share.add_class_pages(static_cast<uint32_t>(pages));
  }
  return configure;
}

}  // namespace headlong
