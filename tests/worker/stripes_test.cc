// Workers that hold retrieval heads in stripes give what one worker gives: golden logits and
// tokens, whole prompts and units of an exact prefill, several sequences at once.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "common/json.h"
#include "tests/support/paths.h"
#include "tests/worker/local_workers.h"
#include "tests/worker/logits.h"

namespace headlong {
namespace {

constexpr double kTolerance = 2e-3;  // on golden logits, as for one worker
constexpr double kOneWorker = 5e-4;  // on logits, against one worker of the same kind
constexpr int kSpan = 40;            // tokens of an answer that is compared

struct Split {
  std::vector<int> stripes;  // by rank
  On on = On::kCpu;
};
void PrintTo(const Split& split, std::ostream* out) {
  for (int count : split.stripes) *out << count << "_";
  PrintTo(split.on, out);
}

class Stripes : public ::testing::TestWithParam<Split> {
 protected:
  void SetUp() override {
    const auto devices = DevicesOf(GetParam().on);
    if (!devices.ok()) GTEST_SKIP() << devices.status();
    options_.devices = *devices;
    options_.model_dir = SourceDir() / "models" / "needle-10m";
    options_.max_context = 6144;
    options_.stripes = GetParam().stripes;
    options_.workers = static_cast<int>(options_.stripes.size());
  }

  static std::unique_ptr<LocalWorkers> Begin(const LocalOptions& options) {
    auto workers = LocalWorkers::Begin(options);
    EXPECT_TRUE(workers.ok()) << workers.status();
    return workers.ok() ? *std::move(workers) : nullptr;
  }

  LocalOptions options_;
};

double DifferenceFromTop(const std::vector<float>& logits, const Json& top) {
  double worst = 0;
  for (const Json& pair : top) {
    worst = std::max(worst, std::abs(logits[pair[0].get<int>()] - pair[1].get<double>()));
  }
  return worst;
}

uint32_t Best(const std::vector<float>& logits) {
  return static_cast<uint32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// Every head keeps everything.
TEST_P(Stripes, GoldenLogitsAndGreedyTokens) {
  auto workers = Begin(options_);
  ASSERT_NE(workers, nullptr);
  const auto prompts = ReadJsonFile(GoldenPath("needle-10m.transformers.json"));
  ASSERT_TRUE(prompts.ok()) << prompts.status();
  uint64_t id = 0;
  double worst = 0;
  for (const Json& prompt : *prompts) {
    const auto ids = prompt["prompt_ids"].get<std::vector<uint32_t>>();
    auto logits = workers->Prefill(++id, ids, 512);
    ASSERT_TRUE(logits.ok()) << logits.status();
    worst = std::max(worst, DifferenceFromTop(*logits, prompt["last_logits_top20"]));
    ASSERT_LE(worst, kTolerance) << "prompt of " << ids.size();
    int position = static_cast<int>(ids.size());
    int left = kSpan;
    for (uint32_t expected : prompt["greedy_ids"]) {
      ASSERT_EQ(Best(*logits), expected) << "prompt of " << ids.size() << ", position " << position;
      if (--left == 0) break;
      logits = workers->Extend(id, position++, {expected});
      ASSERT_TRUE(logits.ok()) << logits.status();
    }
    ASSERT_TRUE(workers->End(id).ok());
    EXPECT_EQ(workers->cache_bytes_used(), 0);
  }
  RecordProperty("largest_difference", std::to_string(worst));
}

// The model's own plan, and the same with an exact prefill: logits of one worker, in any chunks.
TEST_P(Stripes, AsOneWorkerWithLocalHeadsBesideThem) {
  const auto ids = ReadJsonFile(GoldenPath("needle-10m.transformers.json"));
  ASSERT_TRUE(ids.ok()) << ids.status();
  std::vector<uint32_t> tokens;
  for (const Json& prompt : *ids) {
    for (uint32_t token : prompt["prompt_ids"]) tokens.push_back(token);
  }
  tokens.resize(std::min<size_t>(tokens.size(), 1300));
  auto plan = ReadJsonFile(options_.model_dir / "plan.json");
  ASSERT_TRUE(plan.ok()) << plan.status();
  for (const char* prefill : {"streaming", "exact"}) {
    (*plan)["prefill"] = prefill;
    options_.plan = plan->dump();
    LocalOptions alone = options_;
    alone.stripes.clear();
    alone.workers = 1;
    auto one = Begin(alone);
    auto many = Begin(options_);
    ASSERT_NE(one, nullptr);
    ASSERT_NE(many, nullptr);
    const int prompt = static_cast<int>(tokens.size()) - 20;
    for (int chunk : {512, 77}) {
      const auto id = static_cast<uint64_t>(chunk);
      auto expected = one->Prefill(id, tokens, chunk, prompt);
      auto got = many->Prefill(id, tokens, chunk, prompt);
      ASSERT_TRUE(expected.ok() && got.ok()) << expected.status() << got.status();
      EXPECT_LE(Difference(*got, *expected), kOneWorker) << prefill << " in chunks of " << chunk;
      for (int i = 0; i < 10; ++i) {
        const uint32_t token = Best(*expected);
        const int position = static_cast<int>(tokens.size()) + i;
        expected = one->Extend(id, position, {token});
        got = many->Extend(id, position, {token});
        ASSERT_TRUE(expected.ok() && got.ok()) << expected.status() << got.status();
        EXPECT_LE(Difference(*got, *expected), kOneWorker) << prefill << " at " << position;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, Stripes,
                         ::testing::Values(Split{{1, 1}}, Split{{7, 2, 1}}, Split{{2, 1, 4, 1}},
                                           Split{{3, 0, 2}}));
INSTANTIATE_TEST_SUITE_P(Cuda, Stripes,
                         ::testing::Values(Split{{1, 1}, On::kCuda}, Split{{7, 2, 1}, On::kCuda}));

}  // namespace
}  // namespace headlong
