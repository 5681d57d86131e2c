// Recounts what the shares of a placement weigh, as the workers themselves will.
#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "cache/lane_class.h"
#include "tests/coordinator/placement_case.h"

namespace headlong {

// Fails where the worker itself would refuse the heads.
inline std::vector<HeldLane> LanesOfShare(const v1::WorkerShare& share) {
  std::vector<HeadStripe> stripes;
  for (const v1::HeadShare& head : share.heads()) {
    stripes.push_back({{static_cast<int>(head.layer()), static_cast<int>(head.head())},
                       static_cast<int>(head.stripe_index()),
                       static_cast<int>(head.stripe_count())});
  }
  auto lanes = JoinStripes(stripes);
  EXPECT_TRUE(lanes.ok()) << lanes.status();
  return lanes.ok() ? *lanes : std::vector<HeldLane>();
}

// Weights from the shapes of the matrices, caches from the classes the worker builds.
inline void CheckMemory(const PlacementProblem& problem, const v1::Placement& placement) {
  const ModelConfig& config = *problem.config;
  for (int i = 0; i < placement.workers_size(); ++i) {
    const v1::WorkerShare& share = placement.workers(i);
    const std::vector<HeldLane> lanes = LanesOfShare(share);
    const int64_t projections =
        int64_t{config.hidden_size} * config.head_dim * (2 * config.q_heads / config.kv_heads + 2);
    int64_t elements = projections * static_cast<int64_t>(lanes.size());
    for (const v1::Range& range : share.mlp_columns()) {
      elements += int64_t{3} * config.hidden_size * (range.end() - range.begin());
    }
    const int64_t rows = share.vocab_rows().end() - share.vocab_rows().begin();
    const int64_t weights = elements * problem.weight_element_bytes +
                            rows * config.hidden_size *
                                (problem.weight_element_bytes + problem.embedding_element_bytes) +
                            (2 * config.layers + 1) * int64_t{config.hidden_size} * 4;
    EXPECT_EQ(static_cast<int64_t>(share.weights_bytes()), weights);
    int64_t cache = 0;
    const std::vector<LaneClass> classes = BuildLaneClasses(*problem.plan, lanes);
    ASSERT_EQ(share.class_pages_size(), static_cast<int>(classes.size()));
    for (size_t c = 0; c < classes.size(); ++c) {
      const LaneRule rule = classes[c].rule(*problem.plan, problem.max_context);
      const int64_t pages = share.class_pages(static_cast<int>(c));
      EXPECT_GE(pages, PagesReserved(rule, problem.max_context) * problem.required_sequences);
      cache += pages * PageBytes(*problem.plan, classes[c], config.head_dim,
                                 problem.cache_element_bytes) +
               problem.max_sequences * SlotBytes(*problem.plan, classes[c], config.head_dim,
                                                 problem.cache_element_bytes);
    }
    EXPECT_EQ(static_cast<int64_t>(share.cache_bytes()), cache);
    EXPECT_LE(weights + cache + static_cast<int64_t>(share.scratch_bytes()),
              problem.workers[i].memory_bytes)
        << share.worker_id();
  }
}

}  // namespace headlong
