// A model whose caches are in fp16: the tokens of fp32, nearer to its logits than bf16 is, the same
// bits whether the cache or every policy says so; and what GPUs refuse.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/json.h"
#include "tests/support/paths.h"
#include "tests/worker/local_workers.h"
#include "tests/worker/logits.h"
#include "worker/gpu_limits.h"

namespace headlong {
namespace {

LocalOptions Needle() {
  LocalOptions options;
  options.model_dir = SourceDir() / "models" / "needle-10m";
  options.max_context = 6144;
  return options;
}

// Every head in full, or local with a window of 64, stored as told.
std::string PlanOf(bool local, const std::string& storage) {
  return absl::StrCat(R"({"version":1,"layers":8,"kv_heads":4,"policies":{"all":{)",
                      local ? R"("sinks":4,"window_tokens":64,)" : "", R"("storage":{)", storage,
                      R"(}}},"default":"all"})");
}

// Of every golden prompt: logits after it and after each token of transformers' greedy answer.
std::vector<std::vector<float>> GoldenLogits(const LocalOptions& options) {
  std::vector<std::vector<float>> all;
  const auto prompts = ReadJsonFile(GoldenPath("needle-10m.transformers.json"));
  auto workers = LocalWorkers::Begin(options);
  if (!prompts.ok() || !workers.ok()) {
    ADD_FAILURE() << prompts.status() << workers.status();
    return all;
  }
  uint64_t id = 0;
  for (const Json& prompt : *prompts) {
    const auto ids = prompt["prompt_ids"].get<std::vector<uint32_t>>();
    auto logits = (*workers)->Prefill(++id, ids, 512);
    int position = static_cast<int>(ids.size());
    for (const uint32_t token : prompt["greedy_ids"]) {
      if (!logits.ok()) ADD_FAILURE() << logits.status();
      all.push_back(*logits);
      logits = (*workers)->Extend(id, position++, {token});
    }
    EXPECT_TRUE((*workers)->End(id).ok());
  }
  EXPECT_EQ((*workers)->cache_bytes_used(), 0);
  return all;
}

double Worst(const std::vector<std::vector<float>>& a, const std::vector<std::vector<float>>& b) {
  double worst = a.size() == b.size() && !a.empty() ? 0 : 1e9;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    worst = std::max(worst, Difference(a[i], b[i]));
  }
  return worst;
}

size_t Best(const std::vector<float>& logits) {
  return std::max_element(logits.begin(), logits.end()) - logits.begin();
}

float Gap(std::vector<float> logits) {
  std::nth_element(logits.begin(), logits.begin() + 1, logits.end(), std::greater<>());
  return logits[0] - logits[1];
}

class Float16Model : public ::testing::TestWithParam<On> {};

TEST_P(Float16Model, GreedyTokensAreTransformersAndLogitsNearerThanBf16s) {
  // On logits. GPUs round queries and weights, too.
  const double most = GetParam() == On::kCuda ? 0.08 : 0.05;
  const auto devices = DevicesOf(GetParam());
  if (!devices.ok()) GTEST_SKIP() << devices.status();
  LocalOptions options = Needle();
  options.devices = *devices;
  const auto fp32 = GoldenLogits(options);
  options.kv_cache_dtype = "bf16";
  const auto bf16 = GoldenLogits(options);
  options.kv_cache_dtype = "fp16";
  const auto fp16 = GoldenLogits(options);
  const double near = Worst(fp16, fp32), far = Worst(bf16, fp32);
  RecordProperty("fp16", std::to_string(near));
  RecordProperty("bf16", std::to_string(far));
  EXPECT_LE(near, most);
  EXPECT_GT(near, 0) << "nothing was rounded";
  EXPECT_LT(3 * near, far) << "three more bits of mantissa";
  ASSERT_EQ(fp16.size(), fp32.size());
  int compared = 0;
  for (size_t i = 0; i < fp32.size(); ++i) {
    if (Gap(fp32[i]) < 2 * most) continue;  // rounding may change places
    ++compared;
    EXPECT_EQ(Best(fp16[i]), Best(fp32[i])) << "token " << i;
  }
  EXPECT_GT(compared * 10, static_cast<int>(fp32.size()) * 9) << "of " << fp32.size();
}

INSTANTIATE_TEST_SUITE_P(On, Float16Model, ::testing::Values(On::kCpu, On::kCuda),
                         ::testing::PrintToStringParamName());

TEST(Float16Lanes, APolicyStoresWhatACacheOfItsTypeStores) {
  const std::string fp16 = R"("k":"fp16","v":"fp16")";
  for (const bool local : {false, true}) {
    LocalOptions options = Needle();
    options.plan = PlanOf(local, fp16);
    const auto by_policy = GoldenLogits(options);
    options.kv_cache_dtype = "bf16";
    EXPECT_EQ(GoldenLogits(options), by_policy) << "whatever the cache's own type is";
    options.kv_cache_dtype = "fp16";
    options.plan = PlanOf(local, "");
    EXPECT_EQ(GoldenLogits(options), by_policy) << "local " << local;
    options.plan = PlanOf(local, R"("k":"bf16","v":"fp16")");
    const auto mixed = GoldenLogits(options);
    EXPECT_GT(Worst(mixed, by_policy), 0) << "keys are in bf16";
    EXPECT_LT(Worst(mixed, by_policy), 0.5);
  }
}

struct GpuCase {
  const char* storage;
  Storage own;
  const char* words;  // of the refusal; empty: none
};

TEST(Float16Lanes, GpusRefuseOtherTypesByName) {
  for (const GpuCase& c : {GpuCase{"", Storage::kFloat16, ""},
                           GpuCase{R"("k":"fp16","v":"fp16")", Storage::kFloat16, ""},
                           GpuCase{R"("k":"fp16","v":"bf16")", Storage::kFloat16,
                                   "policy \"all\": storage in bf16 beside a cache in fp16"},
                           GpuCase{R"("v":"int8")", Storage::kFloat16,
                                   "policy \"all\": storage in int8 beside a cache in fp16"},
                           GpuCase{R"("k":"fp16","v":"fp16")", Storage::kBfloat16,
                                   "policy \"all\": storage in fp16 beside a cache in bf16"},
                           GpuCase{R"("k":"int8","v":"fp32")", Storage::kBfloat16,
                                   "policy \"all\": storage in fp32 beside a cache in bf16"},
                           GpuCase{R"("k":"int8","v":"bf16")", Storage::kBfloat16, ""},
                           GpuCase{R"("k":"int8","v":"int4")", Storage::kFloat32, ""}}) {
    const auto plan = Plan::FromJson(PlanOf(false, c.storage), {8, 4, ""}, "plan");
    ASSERT_TRUE(plan.ok()) << plan.status();
    const absl::Status status = CheckRunsOnGpu(ModelConfig(), *plan, c.own);
    if (*c.words == 0) {
      EXPECT_TRUE(status.ok()) << status;
      continue;
    }
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << c.storage;
    EXPECT_EQ(std::string(status.message()).substr(0, std::string(c.words).size()), c.words);
  }
}

// The policy that has them, where a head has the policy.
TEST(Float16Lanes, GpusRefuseCodesOfOneHead) {
  constexpr char kHead[] = R"({"layer":3,"heads":[2],"policy":"coded"})";
  for (const bool used : {false, true}) {
    const std::string text =
        absl::StrCat(R"({"version":1,"layers":8,"kv_heads":4,"policies":{"full":{},"coded":{)",
                     R"("storage":{"k":"int8","v":"int8"}}},"default":"full","heads":[)",
                     used ? kHead : "", "]}");
    const auto plan = Plan::FromJson(text, {8, 4, ""}, "plan");
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_TRUE(CheckRunsOnGpu(ModelConfig(), *plan, Storage::kBfloat16).ok());
    const absl::Status status = CheckRunsOnGpu(ModelConfig(), *plan, Storage::kFloat16);
    EXPECT_EQ(status.ok(), !used) << status;
    if (!used) continue;
    EXPECT_EQ(std::string(status.message()).substr(0, 54),
              "policy \"coded\": storage in int8 beside a cache in fp16");
  }
}

TEST(Float16Lanes, GpusRefuseRanksBesideThem) {
  const std::string text = absl::StrCat(
      R"({"version":1,"layers":8,"kv_heads":4,"projections":{"file":"none","sha256":")",
      std::string(64, '0'), R"("},"policies":{"all":{"rank":{"k":48}}},"default":"all"})");
  const auto plan = Plan::FromJson(text, {8, 4, ""}, "plan");
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_TRUE(CheckRunsOnGpu(ModelConfig(), *plan, Storage::kBfloat16).ok());
  const absl::Status status = CheckRunsOnGpu(ModelConfig(), *plan, Storage::kFloat16);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(std::string(status.message()).substr(0, 41),
            "policy \"all\": rank beside a cache in fp16");
}

// Before anything is loaded, and so without a GPU.
TEST(Float16Lanes, AWorkerOnAGpuSaysSo) {
  LocalOptions options = Needle();
  options.kv_cache_dtype = "fp16";
  options.plan = PlanOf(false, R"("k":"int8","v":"int8")");
  options.devices = {{0, "cuda:0", ""}};
  const auto begun = LocalWorkers::Begin(options);
  ASSERT_FALSE(begun.ok());
  EXPECT_EQ(begun.status().code(), absl::StatusCode::kUnimplemented) << begun.status();
}

TEST(Float16Lanes, ProductsAreNotInFloat16) {
  LocalOptions options = Needle();
  options.dtype = "fp16";
  const auto begun = LocalWorkers::Begin(options);
  ASSERT_FALSE(begun.ok());
  EXPECT_NE(std::string(begun.status().message()).find("dtype: products are in fp32 or bf16"),
            std::string::npos)
      << begun.status();
}

}  // namespace
}  // namespace headlong
