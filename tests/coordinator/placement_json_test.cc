#include "coordinator/placement_json.h"

#include <gtest/gtest.h>

#include <random>

#include "common/json.h"
#include "coordinator/placement_reserve.h"
#include "tests/coordinator/placement_case.h"

namespace headlong {
namespace {

// Three workers of SmallModel with SmallPlan. w0 holds the whole local heads; layer 1 head 0 is
// split 7 : 2 : 1, layer 2 head 1 lies 1 : 3 on w0 and w1; w2 computes no MLP column.
Json ThreeWorkers() {
  Json workers = Json::array();
  for (int i = 0; i < 3; ++i) {
    const int columns[] = {300, 212, 0};
    const int rows[] = {500, 0, 500};
    workers.push_back({{"id", absl::StrCat("w", i)},
                       {"heads", Json::array()},
                       {"mlp_columns", Json(4, columns[i])},
                       {"vocab_rows", rows[i]}});
  }
  const auto stripes = [&](int worker, int layer, int head, std::vector<int> indices, int of) {
    for (int index : indices) {
      workers[worker]["heads"].push_back(
          {{"layer", layer}, {"head", head}, {"stripe", {index, of}}});
    }
  };
  const Plan plan = SmallPlan();
  for (int layer = 0; layer < 4; ++layer) {
    for (int head = 0; head < 4; ++head) {
      if (!plan.policy(layer, head).full()) {
        workers[0]["heads"].push_back({{"layer", layer}, {"head", head}, {"role", "local"}});
      }
    }
  }
  stripes(0, 1, 0, {6, 1, 2, 3, 0, 5, 4}, 10);
  stripes(1, 1, 0, {7, 8}, 10);
  stripes(2, 1, 0, {9}, 10);
  stripes(0, 2, 1, {0}, 4);
  stripes(1, 2, 1, {1, 2, 3}, 4);
  stripes(2, 2, 3, {0}, 1);
  workers[0]["class_pages"] = {1, 2};  // what describes is not read
  return {{"epoch", 3}, {"gap", 0.5}, {"workload", {{"context", 9}}}, {"workers", workers}};
}

absl::StatusOr<v1::Placement> Read(const Json& json) {
  const ModelConfig config = SmallModel();
  return PlacementFromJson(json.dump(), config, SmallPlan(), "p.json");
}

TEST(PlacementJson, ReadsHeadsStripesColumnsAndRows) {
  const auto placement = Read(ThreeWorkers());
  ASSERT_TRUE(placement.ok()) << placement.status();
  ASSERT_EQ(placement->workers_size(), 3);
  const v1::WorkerShare& w1 = placement->workers(1);
  EXPECT_EQ(w1.worker_id(), "w1");
  ASSERT_EQ(w1.heads_size(), 5);
  EXPECT_EQ(w1.heads(0).layer(), 1u);
  EXPECT_EQ(w1.heads(0).stripe_index(), 7u);
  EXPECT_EQ(w1.heads(0).stripe_count(), 10u);
  EXPECT_EQ(w1.heads(0).policy(), "retrieval");
  EXPECT_TRUE(w1.heads(0).retrieval());
  EXPECT_EQ(w1.mlp_columns(3).begin(), 300u);
  EXPECT_EQ(w1.mlp_columns(3).end(), 512u);
  EXPECT_EQ(placement->workers(2).vocab_rows().begin(), 500u);
  EXPECT_EQ(placement->workers(2).vocab_rows().end(), 1000u);
}

TEST(PlacementJson, RangesSayWhereColumnsAre) {
  Json json = ThreeWorkers();
  for (int i = 0; i < 3; ++i) {
    const int ranges[][2] = {{212, 512}, {0, 212}, {0, 0}};
    json["workers"][i]["mlp_column_ranges"] = Json(4, Json(ranges[i]));
  }
  const auto placement = Read(json);
  ASSERT_TRUE(placement.ok()) << placement.status();
  EXPECT_EQ(placement->workers(0).mlp_columns(0).begin(), 212u);
  json["workers"][1]["mlp_column_ranges"][2] = {1, 213};
  EXPECT_NE(Read(json).status().message().find("layer 2: MLP columns [0, 1) of 512 are nobody's"),
            std::string::npos);
  json["workers"][1]["mlp_column_ranges"][2] = {0, 211};
  EXPECT_NE(
      Read(json).status().message().find("workers[1]: mlp_column_ranges[2]: [0, 211) are not 212"),
      std::string::npos);
}

struct Mistake {
  const char* patch;  // JSON patch of ThreeWorkers()
  const char* message;
};

TEST(PlacementJson, RefusesNamingTheEntry) {
  const Mistake mistakes[] = {
      {R"([{"op":"add","path":"/colour","value":1}])", "p.json: unknown field \"colour\""},
      {R"([{"op":"remove","path":"/workers"}])", "p.json: workers: must be a list, is missing"},
      {R"([{"op":"add","path":"/workers/1/speed","value":1}])",
       "p.json: workers[1]: unknown field \"speed\""},
      {R"([{"op":"replace","path":"/workers/1/id","value":"w0"}])",
       "p.json: workers[1]: id: w0 stands twice"},
      {R"([{"op":"replace","path":"/workers/1/heads/0/stripe","value":[10,10]}])",
       "p.json: workers[1]: heads[0]: stripe: no stripe 10 of 10"},
      {R"([{"op":"replace","path":"/workers/1/heads/0/stripe","value":[2]}])",
       "p.json: workers[1]: heads[0]: stripe: must be two integers"},
      {R"([{"op":"replace","path":"/workers/1/heads/0/stripe","value":[6,10]}])",
       "stripe 8 of 10: a worker's stripes stand side by side"},
      {R"([{"op":"remove","path":"/workers/1/heads/1"}])",
       "p.json: placement: layer 1 head 0: stripes [8, 9) of 10 are nobody's"},
      {R"([{"op":"add","path":"/workers/1/heads/5","value":{"layer":1,"head":0,"stripe":[9,10]}}])",
       "layer 1 head 0: stripes from 9 of 10 are in two shares"},
      {R"([{"op":"replace","path":"/workers/2/heads/0/stripe","value":[8,9]}])",
       "layer 1 head 0: its owners split it into 10 stripes and into 9"},
      {R"([{"op":"add","path":"/workers/2/heads/0/role","value":"local"}])",
       "p.json: workers[2]: heads[0]: role: the plan in force says \"retrieval\", not \"local\""},
      {R"([{"op":"add","path":"/workers/0/heads/0/stripe","value":[0,2]},
           {"op":"add","path":"/workers/1/heads/0","value":{"layer":0,"head":0,"stripe":[1,2]}}])",
       "layer 0 head 0: is a local head, and those are not split"},
      {R"([{"op":"remove","path":"/workers/0/heads/0"}])", "layer 0 head 0: nobody holds it"},
      {R"([{"op":"replace","path":"/workers/2/mlp_columns/1","value":-1}])",
       "p.json: workers[2]: mlp_columns[1]: must be an integer in [0, 512], is -1"},
      {R"([{"op":"replace","path":"/workers/1/mlp_columns/1","value":200}])",
       "p.json: layer 1: MLP columns [500, 512) of 512 are nobody's"},
      {R"([{"op":"remove","path":"/workers/1/mlp_columns/1"}])",
       "mlp_columns: must have one entry for each of 4 layers"},
      {R"([{"op":"replace","path":"/workers/1/vocab_rows","value":1}])",
       "p.json: workers[2]: vocab_row_range: more than the 1000 there are"},
  };
  for (const Mistake& mistake : mistakes) {
    const auto read = Read(ThreeWorkers().patch(Json::parse(mistake.patch)));
    EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument) << mistake.patch;
    EXPECT_NE(read.status().message().find(mistake.message), std::string::npos)
        << read.status() << "\nfor " << mistake.patch;
  }
}

// Whatever a file holds, a status comes back, and what is read can be reserved.
TEST(PlacementJson, BrokenTextIsRefusedOrRead) {
  const ModelConfig config = SmallModel();
  const Plan plan = SmallPlan();
  const PlacementProblem problem =
      SmallProblem(config, plan, {int64_t{1} << 30, int64_t{1} << 30, int64_t{1} << 30});
  const std::string whole = ThreeWorkers().dump();
  std::mt19937 random(5);
  int read = 0;
  for (int trial = 0; trial < 4000; ++trial) {
    std::string text = whole;
    for (int change = static_cast<int>(random() % 3); change >= 0; --change) {
      const size_t at = random() % text.size();
      const char bytes[] = "0123456789-[]{},:\"x\xff";
      switch (random() % 3) {
        case 0:
          text[at] = bytes[random() % (sizeof(bytes) - 1)];
          break;
        case 1:
          text.erase(at, 1 + random() % 20);
          break;
        default:
          text.insert(at, 1, bytes[random() % (sizeof(bytes) - 1)]);
      }
    }
    const auto placement = PlacementFromJson(text, config, plan, "p.json");
    if (!placement.ok()) {
      ASSERT_FALSE(placement.status().message().empty());
      continue;
    }
    ++read;
    (void)Reserve(problem, *placement);
  }
  EXPECT_GT(read, 0);
}

PlacementProblem Problem(const ModelConfig& config, const Plan& plan) {
  return SmallProblem(config, plan, {int64_t{1} << 26, int64_t{1} << 26, int64_t{1} << 26});
}

TEST(PlacementReserve, CountsPagesOfOwnedStripesAndBytes) {
  const ModelConfig config = SmallModel();
  const Plan plan = SmallPlan();
  const PlacementProblem problem = Problem(config, plan);
  const auto given = Read(ThreeWorkers());
  ASSERT_TRUE(given.ok()) << given.status();
  const auto placement = Reserve(problem, *given);
  ASSERT_TRUE(placement.ok()) << placement.status();
  // 4096 tokens are 64 pages: 7, 2 and 1 of 10 stripes own 46, 12 and 6 of them; 4 sequences.
  const v1::WorkerShare& w1 = placement->workers(1);
  ASSERT_EQ(w1.class_pages_size(), 2);  // stripes [1, 4) of 4, then [7, 9) of 10
  EXPECT_EQ(w1.class_pages(0), 4u * 48);
  EXPECT_EQ(w1.class_pages(1), 4u * 12);
  EXPECT_EQ(w1.cache_bytes(), 4u * (48 + 12) * 64 * 2 * 32 * 4);
  EXPECT_EQ(w1.device(), "cpu");
  EXPECT_EQ(placement->workers(2).class_pages_size(), 2);
  EXPECT_GT(placement->step_ms(), placement->lower_bound_ms());
  EXPECT_GT(placement->lower_bound_ms(), 0);
  // Layer 2 has 2 owners of one split head, layer 1 has 3; 128 rows of 2 query heads.
  PlacementProblem whole = problem;
  whole.stripes = false;
  EXPECT_EQ(w1.scratch_bytes() - ScratchBytes(whole, 1, 212, 0), (3u + 1) * 128 * 2 * 4);
}

TEST(PlacementReserve, RefusesOtherWorkersAndTooLittleMemory) {
  const ModelConfig config = SmallModel();
  const Plan plan = SmallPlan();
  const auto given = Read(ThreeWorkers());
  ASSERT_TRUE(given.ok()) << given.status();
  const auto refusal = [&](const PlacementProblem& problem) {
    return std::string(Reserve(problem, *given).status().message());
  };
  PlacementProblem problem = Problem(config, plan);
  problem.workers.pop_back();
  EXPECT_NE(refusal(problem).find("names worker w2, which is not here"), std::string::npos);
  problem = Problem(config, plan);
  problem.workers.push_back({"w3", "cpu", 1 << 26, 1e10});
  EXPECT_NE(refusal(problem).find("does not say what worker w3 holds"), std::string::npos);
  problem = Problem(config, plan);
  std::swap(problem.workers[0], problem.workers[2]);
  EXPECT_NE(refusal(problem).find("of worker w2 begin at 500"), std::string::npos);
  problem = Problem(config, plan);
  problem.workers[1].memory_bytes = 1 << 20;
  EXPECT_EQ(Reserve(problem, *given).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(refusal(problem).find("does not fit worker w1: weights of"), std::string::npos);
  // Room for one sequence, not for four: fewer pages, and all of it fits.
  problem = Problem(config, plan);
  const v1::Placement all = *Reserve(problem, *given);
  const v1::WorkerShare& w1 = all.workers(1);
  problem.workers[1].memory_bytes =
      static_cast<int64_t>(w1.weights_bytes() + w1.scratch_bytes() + w1.cache_bytes() / 2);
  const auto placement = Reserve(problem, *given);
  ASSERT_TRUE(placement.ok()) << placement.status();
  EXPECT_LT(placement->workers(1).class_pages(0), w1.class_pages(0));
  EXPECT_GE(placement->workers(1).class_pages(0), w1.class_pages(0) / 4);
}

}  // namespace
}  // namespace headlong
