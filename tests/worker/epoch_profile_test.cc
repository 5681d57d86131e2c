// What an epoch tells of its steps before the first one, and that it leaves no trace.
#include <gtest/gtest.h>

#include "tests/support/paths.h"
#include "tests/worker/golden_prompt.h"
#include "tests/worker/local_workers.h"

namespace headlong {
namespace {

LocalOptions Measured(int workers, const std::string& plan) {
  LocalOptions options;
  options.model_dir = SourceDir() / "models" / "needle-10m";
  options.workers = workers;
  options.plan = plan;
  options.max_context = 4096;
  options.measure = true;
  return options;
}

void ExpectFigures(const v1::SharedProfile& shared) {
  // From what the slowest machine could do to what none can.
  EXPECT_LT(shared.read_bytes_per_s(), 1e13);
  EXPECT_GT(shared.weights_per_s(), 1e7);
  EXPECT_LT(shared.weights_per_s(), 1e13);
  EXPECT_GE(shared.layer_s(), 0);
  EXPECT_LT(shared.layer_s(), 1);
  EXPECT_GT(shared.sum_s(), 1e-7);
  EXPECT_LT(shared.sum_s(), 1);
}

TEST(EpochProfile, EveryWorkerTellsWhatStepsCostIt) {
  bool told[2] = {};
  // Where others take the processor meanwhile, far steps may have been the faster ones.
  for (int attempt = 0; attempt < 10 && !(told[0] && told[1]); ++attempt) {
    const auto workers = LocalWorkers::Begin(Measured(2, "full"));
    ASSERT_TRUE(workers.ok()) << workers.status();
    for (int rank = 0; rank < 2; ++rank) {
      const auto& shared = (*workers)->shared(rank);
      ASSERT_TRUE(shared.has_value());
      ExpectFigures(*shared);
      told[rank] |= shared->read_bytes_per_s() > 1e7;
    }
  }
  EXPECT_TRUE(told[0] && told[1]) << "no rate of reading";
}

TEST(EpochProfile, AloneThereAreNoSumsAndWindowsAreTooLittleToTell) {
  LocalOptions options = Measured(1, "local");
  const auto alone = LocalWorkers::Begin(options);
  ASSERT_TRUE(alone.ok()) << alone.status();
  EXPECT_EQ((*alone)->shared(0)->sum_s(), 0);
  options.max_context = 2;  // no room for a context that is far from its begin
  const auto narrow = LocalWorkers::Begin(options);
  ASSERT_TRUE(narrow.ok()) << narrow.status();
  EXPECT_EQ((*narrow)->shared(0)->read_bytes_per_s(), 0);
  EXPECT_GT((*narrow)->shared(0)->weights_per_s(), 0);
}

TEST(EpochProfile, DryStepsLeaveNoTrace) {
  LocalOptions options = Measured(2, "local");
  const auto dry = LocalWorkers::Begin(options);
  options.measure = false;
  const auto plain = LocalWorkers::Begin(options);
  ASSERT_TRUE(dry.ok() && plain.ok()) << dry.status() << plain.status();
  EXPECT_FALSE((*plain)->shared(0).has_value());
  const auto tokens = GoldenPromptTokens(700);
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  const auto after = (*dry)->Prefill(1, *tokens, 256);
  const auto expected = (*plain)->Prefill(1, *tokens, 256);
  ASSERT_TRUE(after.ok() && expected.ok()) << after.status() << expected.status();
  EXPECT_EQ(*after, *expected) << "pages and sums that dry steps used were taken for the prompt's";
  ASSERT_TRUE((*dry)->End(1).ok());
  EXPECT_EQ((*dry)->cache_bytes_used(), 0);
}

}  // namespace
}  // namespace headlong
