// Decode steps replayed from graphs against the same steps launched kernel by kernel: the same
// logits, whatever joins and leaves the batch. Skipped, with a word, where there is no GPU.
#include "worker/step_graphs.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/paths.h"
#include "tests/worker/local_workers.h"

namespace headlong {
namespace {

TEST(StepGraphs, FewSizesServeAllRows) {
  for (int rows = 1; rows <= 8; ++rows) EXPECT_EQ(GraphRows(rows, 100), rows);
  EXPECT_EQ(GraphRows(9, 100), 12);
  EXPECT_EQ(GraphRows(12, 100), 12);
  EXPECT_EQ(GraphRows(13, 100), 16);
  EXPECT_EQ(GraphRows(17, 100), 24);
  EXPECT_EQ(GraphRows(25, 100), 32);
  EXPECT_EQ(GraphRows(49, 100), 64);
  EXPECT_EQ(GraphRows(49, 63), 0);
  for (int rows = 1; rows < 5000; ++rows) {
    EXPECT_GE(GraphRows(rows, 10000), rows);
    EXPECT_LE(GraphRows(rows, 10000), rows * 3 / 2);
  }
}

constexpr char kPlan[] = R"({"version":1,"layers":8,"kv_heads":4,
  "policies":{"full":{},"local":{"sinks":4,"window_tokens":64},
              "none":{"sinks":0,"window_tokens":100,"compensation":"none"}},
  "default":"local",
  "heads":[{"layer":0,"heads":[1],"policy":"full"},{"layer":1,"heads":[1],"policy":"full"},
           {"layer":2,"heads":[0,1,2,3],"policy":"full"},
           {"layer":3,"heads":[2],"policy":"none"}]})";

// Three pairs of types in layer 3.
constexpr char kCodedPlan[] = R"({"version":1,"layers":8,"kv_heads":4,
  "policies":{"full":{"sinks":4,"storage":{"k":"int8","v":"int8"}},
              "local":{"sinks":4,"window_tokens":64,"storage":{"k":"int4","v":"int4"}},
              "none":{"sinks":0,"window_tokens":100,"compensation":"none"}},
  "default":"local",
  "heads":[{"layer":0,"heads":[1],"policy":"full"},{"layer":1,"heads":[1],"policy":"full"},
           {"layer":2,"heads":[0,1,2,3],"policy":"full"},{"layer":3,"heads":[3],"policy":"full"},
           {"layer":3,"heads":[2],"policy":"none"}]})";

struct GraphCase {
  std::string dtype;
  int workers = 1;
  Sums sums = Sums::kAuto;
  bool coded = false;
  std::string kv_cache_dtype = "";  // empty: as dtype
};
void PrintTo(const GraphCase& c, std::ostream* out) {
  *out << c.dtype << (c.coded ? " coded" : "") << ' ' << c.kv_cache_dtype
       << ", workers: " << c.workers << ", sums: " << static_cast<int>(c.sums);
}

// Sequences of different lengths that start and end at different steps; tokens are chosen by the
// number of the step, so that both runs see the same. Logits of every sequence in every step.
class Steps {
 public:
  Steps(const GraphCase& c, const std::vector<DeviceChoice>& devices, bool graphs,
        bool keeps_logits = true, float temperature = 0) {
    LocalOptions options;
    options.model_dir = SourceDir() / "models" / "needle-10m";
    options.plan = c.coded ? kCodedPlan : kPlan;
    options.dtype = c.dtype;
    options.kv_cache_dtype = c.kv_cache_dtype;
    options.workers = c.workers;
    options.devices = devices;
    options.sums = c.sums;
    options.cuda_graphs = graphs;
    options.keeps_logits = keeps_logits;
    options.sampling.set_temperature(temperature);
    options.sampling.set_top_p(0.95f);
    options.max_sequences = kSequences;
    options.max_context = 2048;
    auto begun = LocalWorkers::Begin(options);
    EXPECT_TRUE(begun.ok()) << begun.status();
    if (begun.ok()) workers_ = *std::move(begun);
  }

  bool begun() const { return workers_ != nullptr; }

  void Decode() {
    for (int step = 0; step < 110; ++step) {
      if (step % 8 == 0 && step / 8 < kSequences) Start(step / 8);
      v1::Step decode;
      for (int id = 0; id < kSequences; ++id) {
        const bool ended = id < 4 && step > 60 + 8 * id;
        if (position_[id] == 0 || ended) continue;
        v1::BatchEntry& entry = *decode.add_entries();
        entry.set_sequence_id(id + 1);
        entry.set_position(position_[id]++);
        entry.add_tokens(17 + (step * 131 + id * 57) % 4000);
        entry.set_sample((step + id) % 9 != 0);
      }
      const auto done = workers_->Run(decode);
      ASSERT_TRUE(done.ok()) << done.status();
      for (const v1::Sample& sample : done->samples()) tokens.push_back(sample.token_id());
      logits.push_back(workers_->logits());
    }
  }

  std::vector<uint32_t> tokens;
  std::vector<std::vector<float>> logits;  // [step]

 private:
  static constexpr int kSequences = 11;

  void Start(int id) {
    std::vector<uint32_t> prompt;
    for (int i = 0; i < 30 + 150 * id; ++i) prompt.push_back(5 + (i * 37 + id) % 4000);
    const auto first = workers_->Prefill(id + 1, prompt, 512);
    ASSERT_TRUE(first.ok()) << first.status();
    position_[id] = static_cast<int>(prompt.size());
  }

  std::unique_ptr<LocalWorkers> workers_;
  int position_[kSequences] = {};
};

class StepGraphsOnGpus : public testing::TestWithParam<GraphCase> {
 protected:
  void SetUp() override {
    const auto devices = DevicesOf(On::kCuda);
    if (!devices.ok()) GTEST_SKIP() << devices.status();
    if (std::ssize(*devices) < GetParam().workers) GTEST_SKIP() << "too few GPUs";
    devices_ = *devices;
  }
  std::vector<DeviceChoice> devices_;
};

TEST_P(StepGraphsOnGpus, ReplayedStepsGiveWhatLaunchedOnesGive) {
  Steps launched(GetParam(), devices_, false), replayed(GetParam(), devices_, true);
  ASSERT_TRUE(launched.begun() && replayed.begun());
  launched.Decode();
  replayed.Decode();
  EXPECT_EQ(launched.tokens, replayed.tokens);
  Steps best(GetParam(), devices_, true, false);
  ASSERT_TRUE(best.begun());
  best.Decode();
  EXPECT_EQ(launched.tokens, best.tokens);
  Steps gathered(GetParam(), devices_, true, true, 1.5f);
  Steps drawn(GetParam(), devices_, true, false, 1.5f);
  ASSERT_TRUE(gathered.begun() && drawn.begun());
  gathered.Decode();
  drawn.Decode();
  EXPECT_TRUE(drawn.logits.back().empty());
  EXPECT_EQ(gathered.tokens, drawn.tokens);
  EXPECT_NE(gathered.tokens, launched.tokens);
  ASSERT_EQ(launched.logits.size(), replayed.logits.size());
  double worst = 0;
  for (size_t step = 0; step < launched.logits.size(); ++step) {
    ASSERT_EQ(launched.logits[step].size(), replayed.logits[step].size()) << step;
    for (size_t i = 0; i < launched.logits[step].size(); ++i) {
      const double difference = launched.logits[step][i] - replayed.logits[step][i];
      ASSERT_FALSE(std::isnan(difference)) << step;
      worst = std::max(worst, std::abs(difference));
    }
  }
  const bool fp32 = GetParam().dtype == "fp32" && GetParam().kv_cache_dtype.empty();
  EXPECT_LE(worst, fp32 ? 1e-4 : 5e-2);
  RecordProperty("worst", std::to_string(worst));
  std::printf("largest difference of a logit: %g\n", worst);
}

INSTANTIATE_TEST_SUITE_P(Cuda, StepGraphsOnGpus,
                         testing::Values(GraphCase{"fp32", 1}, GraphCase{"bf16", 1},
                                         GraphCase{"fp32", 2, Sums::kNccl},
                                         GraphCase{"fp32", 2, Sums::kPush},
                                         GraphCase{"bf16", 2, Sums::kPush},
                                         GraphCase{"fp32", 1, Sums::kAuto, true},
                                         GraphCase{"bf16", 1, Sums::kAuto, true},
                                         GraphCase{"fp32", 1, Sums::kAuto, false, "fp16"},
                                         GraphCase{"bf16", 1, Sums::kAuto, false, "fp16"},
                                         GraphCase{"bf16", 2, Sums::kPush, false, "fp16"}));

}  // namespace
}  // namespace headlong
