#include "worker/context_bench.h"

#include <gtest/gtest.h>

#include <fstream>

#include "absl/strings/match.h"
#include "model/checkpoint.h"
#include "tests/support/paths.h"
#include "tests/worker/local_workers.h"

namespace headlong {
namespace {

const std::filesystem::path& Needle() {
  static const std::filesystem::path folder = SourceDir() / "models" / "needle-10m";
  return folder;
}

bool GoOn(double, double, const std::string&) { return true; }

Plan PlanOf(const ModelConfig& config, const std::string& name) {
  return *Plan::Load(name, Needle(), PlanShapeOf(config));
}

class ContextBenchTest : public ::testing::TestWithParam<On> {
 protected:
  void SetUp() override {
    const auto devices = DevicesOf(GetParam());
    if (!devices.ok()) GTEST_SKIP() << devices.status();
    options_.device = GetParam() == On::kCpu ? "cpu" : "cuda";
    options_.model_dir = Needle();
    options_.dtype = "fp32";
    options_.threads = 2;
    options_.decode = 20;  // a block leaves within them
  }

  ContextBenchOptions options_;
  const ModelConfig config_ = *LoadModelConfig(Needle());
};

TEST_P(ContextBenchTest, FillsAsManyTokensAsItIsTold) {
  options_.tokens = 33001;  // more than the model's context
  const auto report = BenchContext(options_, GoOn);
  ASSERT_TRUE(report.ok()) << report.status();
  ASSERT_GT(options_.tokens, config_.max_context);
  EXPECT_EQ(report->tokens, 33021);
  EXPECT_EQ(report->decoded, 20);
  EXPECT_EQ(report->cache_bytes_used,
            PlanOf(config_, "").SequenceBytes(33021, 0, config_.head_dim, 4));
  EXPECT_GE(report->cache_bytes, report->cache_bytes_used);
  EXPECT_GT(report->weights_bytes, 0);
  EXPECT_GT(report->fill_s, 0);
  EXPECT_GT(report->decode_ms, 0);
  EXPECT_LT(report->read_bytes, report->weights_bytes + report->cache_bytes_used);
  EXPECT_GT(report->read_bytes, report->cache_bytes_used);
  EXPECT_GT(report->share_of_ceiling(), 0);
  EXPECT_EQ(report->memory_bytes > 0, GetParam() == On::kCuda);
}

TEST_P(ContextBenchTest, FindsTheLongestContextWithinALimit) {
  options_.plan = "full";
  options_.memory_limit_bytes = GetParam() == On::kCpu ? int64_t{64} << 20 : int64_t{2} << 30;
  const auto report = BenchContext(options_, GoOn);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_LE(report->weights_bytes + report->cache_bytes, options_.memory_limit_bytes);
  // Another page of every lane, or beside a GPU's libraries and scratch a quarter of the limit,
  // would not fit.
  const double near = GetParam() == On::kCpu ? 64 * report->cache_bytes_per_token
                                             : 0.25 * options_.memory_limit_bytes;
  EXPECT_GT(report->weights_bytes + report->cache_bytes + near, options_.memory_limit_bytes);
  EXPECT_EQ(report->cache_bytes_used,
            PlanOf(config_, "full").FullSequenceBytes(report->tokens, config_.head_dim, 4));
}

TEST_P(ContextBenchTest, SaysWhatItCannotDo) {
  options_.plan = "local";
  EXPECT_TRUE(absl::StrContains(BenchContext(options_, GoOn).status().message(),
                                "no context is too long for these caches"));
  options_.plan = "full";
  options_.memory_limit_bytes = 1 << 20;
  EXPECT_EQ(BenchContext(options_, GoOn).status().code(), absl::StatusCode::kResourceExhausted);
  options_.tokens = 1000;
  EXPECT_EQ(BenchContext(options_, GoOn).status().code(), absl::StatusCode::kResourceExhausted);
  options_.memory_limit_bytes = 0;
  const std::filesystem::path ranks = std::filesystem::path(testing::TempDir()) / "ranks.json";
  std::ofstream(ranks) << R"({"version":1,"layers":8,"kv_heads":4,"default":"thin",)"
                       << R"("projections":{"file":"none","sha256":")" << std::string(64, '0')
                       << R"("},"policies":{"thin":{"rank":{"k":16}}}})";
  options_.plan = ranks;
  EXPECT_TRUE(absl::StrContains(BenchContext(options_, GoOn).status().message(),
                                "policy \"thin\" has a rank"));
  options_.plan = "full";
  options_.tokens = int64_t{1} << 30;
  EXPECT_TRUE(absl::StrContains(BenchContext(options_, GoOn).status().message(), "--tokens"));
  options_.tokens = 6000;
  const auto stops = [](double done, double, const std::string& what) {
    return what != "filling" || done == 0;
  };
  EXPECT_EQ(BenchContext(options_, stops).status().code(), absl::StatusCode::kCancelled);
}

INSTANTIATE_TEST_SUITE_P(On, ContextBenchTest, ::testing::Values(On::kCpu, On::kCuda),
                         ::testing::PrintToStringParamName());

TEST(LongestContextTest, IsTheLastThatFits) {
  const ModelConfig config = *LoadModelConfig(Needle());
  for (const std::string name : {"full", ""}) {
    const Plan plan = PlanOf(config, name);
    for (const int64_t room : {int64_t{0}, int64_t{1} << 20, int64_t{1} << 36}) {
      const int64_t longest = LongestContext(plan, config, 100, 2, room);
      const int64_t begin = ReservedBytes(plan, config, 100, 2);
      EXPECT_LE(ReservedBytes(plan, config, longest, 2), begin + room);
      EXPECT_GT(ReservedBytes(plan, config, longest + 1, 2), begin + room);
    }
  }
  EXPECT_EQ(LongestContext(PlanOf(config, "local"), config, 4096, 2, 1), int64_t{1} << 30);
}

}  // namespace
}  // namespace headlong
