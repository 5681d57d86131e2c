// The whole forward pass against reference outputs made elsewhere.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "common/json.h"
#include "tests/support/paths.h"
#include "tests/worker/local_workers.h"

namespace headlong {
namespace {

constexpr double kNeedleTolerance = 2e-3;  // absolute, on logits in fp32

std::filesystem::path NeedleModel() { return SourceDir() / "models" / "needle-10m"; }

std::unique_ptr<LocalWorkers> Begin(const LocalOptions& options) {
  auto workers = LocalWorkers::Begin(options);
  EXPECT_TRUE(workers.ok()) << workers.status();
  return workers.ok() ? *std::move(workers) : nullptr;
}

void ExpectTopLogits(const std::vector<float>& logits, const Json& top, double tolerance,
                     const std::string& what) {
  double worst = 0;
  for (const Json& pair : top) {
    worst = std::max(worst, std::abs(logits[pair[0].get<int>()] - pair[1].get<double>()));
  }
  EXPECT_LE(worst, tolerance) << what;
}

uint32_t Best(const std::vector<float>& logits) {
  return static_cast<uint32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// Skips the test where its device is not there.
class OnDevice : public ::testing::Test {
 protected:
  void Find(On on) {
    const auto devices = DevicesOf(on);
    if (!devices.ok()) GTEST_SKIP() << devices.status();
    devices_ = *devices;
  }
  std::vector<DeviceChoice> devices_;
};

class Golden : public OnDevice, public ::testing::WithParamInterface<std::pair<int, On>> {
  void SetUp() override { Find(GetParam().second); }

 protected:
  void ExpectTokensOfLogits(float temperature);
};

TEST_P(Golden, TransformersLogitsAndGreedyTokens) {
  LocalOptions options;
  options.model_dir = NeedleModel();
  options.workers = GetParam().first;
  options.devices = devices_;
  options.max_context = 6144;
  auto workers = Begin(options);
  ASSERT_NE(workers, nullptr);
  const auto prompts = ReadJsonFile(GoldenPath("needle-10m.transformers.json"));
  ASSERT_TRUE(prompts.ok()) << prompts.status();
  uint64_t id = 0;
  for (const Json& prompt : *prompts) {
    const auto ids = prompt["prompt_ids"].get<std::vector<uint32_t>>();
    auto logits = workers->Prefill(++id, ids, 512);
    ASSERT_TRUE(logits.ok()) << logits.status();
    ExpectTopLogits(*logits, prompt["last_logits_top20"], kNeedleTolerance,
                    "prompt of " + std::to_string(ids.size()));
    int position = static_cast<int>(ids.size());
    for (uint32_t expected : prompt["greedy_ids"]) {
      ASSERT_EQ(Best(*logits), expected) << "prompt of " << ids.size() << ", position " << position;
      logits = workers->Extend(id, position++, {expected});
      ASSERT_TRUE(logits.ok()) << logits.status();
    }
    ASSERT_TRUE(workers->End(id).ok());
    EXPECT_EQ(workers->cache_bytes_used(), 0);
  }
}

// Tokens where each worker sends its best one, or where they are drawn on the leader's device,
// beside those taken from gathered logits.
TEST_P(Golden, TokensAloneAreThoseOfTheLogits) {
  for (const float temperature : {0.0f, 1.5f}) ExpectTokensOfLogits(temperature);
}

void Golden::ExpectTokensOfLogits(float temperature) {
  std::vector<uint32_t> tokens[2];
  for (const bool keeps_logits : {false, true}) {
    LocalOptions options;
    options.model_dir = NeedleModel();
    options.workers = GetParam().first;
    options.devices = devices_;
    options.max_context = 256;
    options.keeps_logits = keeps_logits;
    auto workers = Begin(options);
    ASSERT_NE(workers, nullptr);
    v1::Step step;
    step.add_started()->set_sequence_id(1);
    step.mutable_started(0)->set_prompt_tokens(40);
    v1::SamplingParams& sampling = *step.mutable_started(0)->mutable_sampling();
    sampling.set_temperature(temperature);
    sampling.set_top_p(0.9f);
    sampling.set_seed(3);
    v1::BatchEntry* entry = step.add_entries();
    for (int i = 0; i < 40; ++i) entry->add_tokens(5 + i * 37);
    for (int position = 40; position < 70; ++position) {
      entry->set_sequence_id(1);
      entry->set_sample(true);
      const auto done = workers->Run(step);
      ASSERT_TRUE(done.ok()) << done.status();
      tokens[keeps_logits].push_back(done->samples(0).token_id());
      if (temperature == 0 || options.workers == 1) {  // else where Gloo gathers them
        EXPECT_EQ(workers->logits().empty(), !keeps_logits);
      }
      step.Clear();
      entry = step.add_entries();
      entry->set_position(position);
      entry->add_tokens(tokens[keeps_logits].back());
    }
  }
  EXPECT_EQ(tokens[0], tokens[1]);
}

INSTANTIATE_TEST_SUITE_P(Cpu, Golden,
                         ::testing::Values(std::pair(1, On::kCpu), std::pair(2, On::kCpu),
                                           std::pair(3, On::kCpu)));
INSTANTIATE_TEST_SUITE_P(Cuda, Golden,
                         ::testing::Values(std::pair(1, On::kCuda), std::pair(2, On::kCuda)));

std::string CasePlan(const Json& reference) {
  Json policies = {{"retrieval", Json::object()},
                   {"local",
                    {{"sinks", reference["sinks"]},
                     {"window_tokens", reference["window_tokens"]},
                     {"compensation", reference["compensation"]}}}};
  Json heads = Json::array();
  for (const Json& head : reference["retrieval_heads"]) {
    heads.push_back({{"layer", head[0]}, {"heads", {head[1]}}, {"policy", "retrieval"}});
  }
  return Json{{"version", 1},
              {"layers", 8},
              {"kv_heads", 4},
              {"block_tokens", reference["block_tokens"]},
              {"prefill", reference["prefill"]},
              {"policies", policies},
              {"default", "local"},
              {"heads", heads}}
      .dump();
}

class GoldenCompressed : public OnDevice, public ::testing::WithParamInterface<On> {
  void SetUp() override { Find(GetParam()); }
};

TEST_P(GoldenCompressed, LogitsOfLocalHeads) {
  const auto cases = ReadJsonFile(GoldenPath("needle-10m.compressed.json"));
  ASSERT_TRUE(cases.ok()) << cases.status();
  int number = 0;
  for (const Json& reference : *cases) {
    LocalOptions options;
    options.model_dir = NeedleModel();
    options.plan = CasePlan(reference);
    options.devices = devices_;
    options.workers = 1 + number % 3;
    options.max_context = 6144;
    auto workers = Begin(options);
    ASSERT_NE(workers, nullptr) << "case " << number;
    const auto ids = reference["ids"].get<std::vector<uint32_t>>();
    const int prompt = reference["prompt_tokens"].get<int>();
    const Json& tops = reference["logits_last4_top20"];
    for (int chunk : {512, 100}) {
      const uint64_t id = chunk;
      // All but the last four positions at once, then those one by one.
      const int first = static_cast<int>(ids.size()) - 4;
      auto logits = workers->Prefill(id, {ids.begin(), ids.begin() + first + 1}, chunk,
                                     std::min(prompt, first + 1));
      for (int i = 0; i < 4; ++i) {
        ASSERT_TRUE(logits.ok()) << logits.status();
        ExpectTopLogits(*logits, tops[i], kNeedleTolerance,
                        "case " + std::to_string(number) + ", chunk " + std::to_string(chunk) +
                            ", position " + std::to_string(first + i));
        if (i < 3) logits = workers->Extend(id, first + i + 1, {ids[first + i + 1]});
      }
    }
    ++number;
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, GoldenCompressed, ::testing::Values(On::kCpu));
INSTANTIATE_TEST_SUITE_P(Cuda, GoldenCompressed, ::testing::Values(On::kCuda));

}  // namespace
}  // namespace headlong
