// A small model, a plan and placement problems over it. Values; any thread.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/placement.h"

namespace headlong {

inline ModelConfig SmallModel() {
  ModelConfig config;
  config.architecture = "LlamaForCausalLM";
  config.layers = 4;
  config.q_heads = 8;
  config.kv_heads = 4;
  config.head_dim = 32;
  config.hidden_size = 256;
  config.intermediate_size = 512;
  config.vocab_size = 1000;
  config.max_context = 8192;
  return config;
}

// Retrieval heads: layer 1 head 0, layer 2 heads 1 and 3.
inline Plan SmallPlan(const std::string& prefill = "streaming") {
  auto plan = Plan::FromJson(
      R"({"version":1,"layers":4,"kv_heads":4,"prefill":")" + prefill +
          R"(","policies":{"retrieval":{},"local":{"sinks":4,"window_tokens":64}},)"
          R"("default":"local","heads":[{"layer":1,"heads":[0],"policy":"retrieval"},)"
          R"({"layer":2,"heads":[1,3],"policy":"retrieval"}]})",
      PlanShape{4, 4, ""}, "test");
  EXPECT_TRUE(plan.ok()) << plan.status();
  return *plan;
}

inline PlacementProblem SmallProblem(const ModelConfig& config, const Plan& plan,
                                     const std::vector<int64_t>& memory_bytes) {
  PlacementProblem problem;
  problem.config = &config;
  problem.plan = &plan;
  problem.max_context = 4096;
  problem.max_sequences = 4;
  problem.max_batch_tokens = 128;
  for (size_t i = 0; i < memory_bytes.size(); ++i) {
    problem.workers.push_back({absl::StrCat("w", i), "cpu", memory_bytes[i], 1e10});
  }
  return problem;
}

}  // namespace headlong
