// Recounts a placement from the wire alone: every part of the model once, stripes side by side,
// memory by the worker's own arithmetic, times by the model's definition.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "coordinator/placement_report.h"
#include "tests/coordinator/placement_memory.h"

namespace headlong {

inline void CheckHeadsOnce(const PlacementProblem& problem, const v1::Placement& placement) {
  // Stripes seen and stripes in all, by head.
  std::map<std::pair<uint32_t, uint32_t>, std::pair<std::vector<uint32_t>, uint32_t>> seen;
  for (const v1::WorkerShare& share : placement.workers()) {
    LanesOfShare(share);
    std::pair<uint32_t, uint32_t> last{0, 0};
    for (const v1::HeadShare& head : share.heads()) {
      const std::pair<uint32_t, uint32_t> id{head.layer(), head.head()};
      EXPECT_LE(last, id) << "ordered";
      last = id;
      const HeadPolicy& policy = problem.plan->policy(head.layer(), head.head());
      EXPECT_EQ(head.policy(), policy.name);
      EXPECT_EQ(head.retrieval(), policy.full());
      if (!policy.full() || !problem.stripes) {
        EXPECT_EQ(head.stripe_count(), 1u);
      }
      auto& [stripes, count] = seen[id];
      if (!stripes.empty()) {
        EXPECT_EQ(count, head.stripe_count());
      }
      count = head.stripe_count();
      stripes.push_back(head.stripe_index());
    }
  }
  EXPECT_EQ(seen.size(), size_t(problem.config->layers * problem.config->kv_heads));
  for (auto& [id, stripes] : seen) {
    std::sort(stripes.first.begin(), stripes.first.end());
    ASSERT_EQ(stripes.first.size(), stripes.second) << id.first << " " << id.second;
    for (uint32_t i = 0; i < stripes.second; ++i) EXPECT_EQ(stripes.first[i], i);
  }
}

inline void CheckRangesOnce(const PlacementProblem& problem, const v1::Placement& placement) {
  std::vector<uint32_t> column(problem.config->layers, 0);
  uint32_t row = 0;
  for (const v1::WorkerShare& share : placement.workers()) {
    ASSERT_EQ(share.mlp_columns_size(), problem.config->layers);
    for (int layer = 0; layer < problem.config->layers; ++layer) {
      EXPECT_EQ(share.mlp_columns(layer).begin(), column[layer]);
      EXPECT_LE(share.mlp_columns(layer).begin(), share.mlp_columns(layer).end());
      column[layer] = share.mlp_columns(layer).end();
    }
    EXPECT_EQ(share.vocab_rows().begin(), row);
    EXPECT_LE(share.vocab_rows().begin(), share.vocab_rows().end());
    row = share.vocab_rows().end();
  }
  for (uint32_t end : column) {
    EXPECT_EQ(end, static_cast<uint32_t>(problem.config->intermediate_size));
  }
  EXPECT_EQ(row, static_cast<uint32_t>(problem.config->vocab_size));
}

inline void CheckPlacement(const PlacementProblem& problem, const v1::Placement& placement) {
  ASSERT_EQ(placement.workers_size(), static_cast<int>(problem.workers.size()));
  CheckHeadsOnce(problem, placement);
  CheckRangesOnce(problem, placement);
  CheckMemory(problem, placement);
  EXPECT_GE(placement.gap(), 0);
  EXPECT_LE(placement.lower_bound_ms(), placement.step_ms());
  const v1::PlacementReport report = ReportOf(problem, placement);
  EXPECT_NEAR(StepMillis(report), placement.step_ms(), placement.step_ms() * 1e-6);
  EXPECT_GE(report.sequences(), problem.required_sequences);
}

}  // namespace headlong
