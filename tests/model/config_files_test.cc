// Model folders and configs that others wrote: the embedded model, tiny models saved by
// transformers, and config.json files of published models.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "common/json.h"
#include "model/checkpoint.h"
#include "model/config.h"
#include "tests/support/paths.h"

namespace headlong {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<float> FirstValues(const Checkpoint& checkpoint, const std::string& name) {
  std::vector<float> values(3);
  ToFloat32(checkpoint.tensor(name), 0, 3, values.data());
  return values;
}

TEST(ModelFolders, Needle10m) {
  const auto folder = SourceDir() / "models" / "needle-10m";
  const auto config = LoadModelConfig(folder);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->layers, 8);
  EXPECT_EQ(config->q_heads, 8);
  EXPECT_EQ(config->kv_heads, 4);
  EXPECT_EQ(config->head_dim, 64);
  EXPECT_EQ(config->vocab_size, 8192);
  EXPECT_EQ(config->max_context, 32768);
  EXPECT_TRUE(config->tied_embeddings);
  EXPECT_EQ(config->rope.theta, 500000);
  EXPECT_EQ(config->bos_token_id, 0);
  EXPECT_THAT(config->eos_token_ids, ElementsAre(1));

  const auto checkpoint = Checkpoint::Open(folder, *config);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->parameters(), 9965824);
  EXPECT_EQ((*checkpoint)->bytes(), 19931648);
  EXPECT_EQ((*checkpoint)->stored_dtype(), "bf16");
  EXPECT_EQ((*checkpoint)->fingerprint(),
            "cd831d255a7aae0c3d9c04641211485ab7ca0f53a6b061afcff25c9fcebcfa47");
}

struct Family {
  const char* name;
  const char* dtype;
  int64_t parameters;
  RopeConfig rope;
  std::vector<float> q_proj;  // the first values of the second layer's
};

TEST(ModelFolders, FamiliesThatRun) {
  const Family families[] = {
      {"llama", "fp32", 133440, {}, {-0.0084228515625f, 0.004547119140625f, -0.1689453125f}},
      {"llama3_rope",
       "bf16",
       112960,
       {.type = RopeType::kLlama3,
        .theta = 5e5,
        .factor = 8,
        .low_freq_factor = 1,
        .high_freq_factor = 4,
        .original_max_position_embeddings = 64},
       {-0.051513671875f, 0.12353515625f, -0.0693359375f}},
      {"llama_linear",
       "bf16",
       133440,
       {.type = RopeType::kLinear, .factor = 4},
       {0.11181640625f, 0.0576171875f, -0.166015625f}},
      {"mistral", "bf16", 182592, {}, {-0.130859375f, -0.154296875f, -0.0703125f}},
  };
  for (const Family& family : families) {
    const auto folder = GoldenPath("families") / family.name;
    const auto config = LoadModelConfig(folder);
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(config->rope, family.rope) << family.name;
    EXPECT_EQ(config->tied_embeddings, std::string(family.name) == "llama3_rope");
    const auto checkpoint = Checkpoint::Open(folder, *config);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    EXPECT_EQ((*checkpoint)->parameters(), family.parameters) << family.name;
    EXPECT_EQ((*checkpoint)->stored_dtype(), family.dtype);
    EXPECT_EQ(FirstValues(**checkpoint, "model.layers.1.self_attn.q_proj.weight"), family.q_proj);
  }
}

TEST(ModelFolders, FamiliesWithMoreThanThat) {
  const auto config = [](const char* name) {
    auto read = LoadModelConfig(GoldenPath("families") / name);
    EXPECT_TRUE(read.ok()) << read.status();
    return read.ok() ? *read : ModelConfig();
  };
  EXPECT_TRUE(config("qwen2").qkv_bias && config("qwen2").tied_embeddings);
  EXPECT_TRUE(config("qwen3").qk_norm && !config("qwen3").tied_embeddings);
  EXPECT_TRUE(config("qwen3_tied").qk_norm && config("qwen3_tied").tied_embeddings);
  EXPECT_THAT(config("mistral_window").layer_windows, ElementsAre(32, 32));
  EXPECT_EQ(config("llama_yarn").rope.type, RopeType::kYarn);
}

TEST(ModelFolders, ShardsThatTransformersWrote) {
  const auto folder = GoldenPath("families") / "llama_yarn";
  const auto config = LoadModelConfig(folder);
  ASSERT_TRUE(config.ok());
  const auto checkpoint = Checkpoint::Open(folder, *config);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->parameters(), 133440);
}

void ExpectLlama31(const ModelConfig& config) {
  EXPECT_EQ(config.head_dim, 128);
  EXPECT_EQ(config.kv_heads, 8);
  EXPECT_EQ(config.vocab_size, 128256);
  EXPECT_EQ(config.max_context, 131072);
  EXPECT_EQ(config.norm_eps, 1e-5);
  EXPECT_FALSE(config.tied_embeddings);
  EXPECT_EQ(config.rope, (RopeConfig{.type = RopeType::kLlama3,
                                     .theta = 5e5,
                                     .factor = 8,
                                     .low_freq_factor = 1,
                                     .high_freq_factor = 4,
                                     .original_max_position_embeddings = 8192}));
  EXPECT_EQ(config.bos_token_id, 128000);
}

TEST(PublishedConfigs, ParseOrAreRefusedByName) {
  const auto folder = SharedPath("data/configs/aiconfigurator");
  if (!folder) GTEST_SKIP() << "no shared reference configs beside this checkout";
  std::set<std::string> parsed;
  int refused = 0;
  for (const auto& entry : std::filesystem::directory_iterator(*folder)) {
    const auto text = ReadFile(entry.path());
    ASSERT_TRUE(text.ok());
    const std::string name = entry.path().filename().string();
    const auto config = ParseModelConfig(*text, name);
    if (!config.ok()) {
      EXPECT_THAT(std::string(config.status().message()), HasSubstr(name + ": "));
      ++refused;
      continue;
    }
    parsed.insert(name);
    if (name.find("Llama-3.1") != std::string::npos) ExpectLlama31(*config);
  }
  EXPECT_THAT(parsed, ElementsAre("Qwen--Qwen3-0.6B_config.json", "Qwen--Qwen3-1.7B_config.json",
                                  "Qwen--Qwen3-32B_config.json", "Qwen--Qwen3-8B_config.json",
                                  "meta-llama--Meta-Llama-3.1-405B_config.json",
                                  "meta-llama--Meta-Llama-3.1-70B_config.json",
                                  "meta-llama--Meta-Llama-3.1-8B_config.json",
                                  "nvidia--Llama-3.1-70B-Instruct-FP8_config.json"));
  EXPECT_GT(refused, 50);
}

TEST(PublishedConfigs, Llama31Of8B) {
  const auto path =
      SharedPath("data/configs/aiconfigurator/meta-llama--Meta-Llama-3.1-8B_config.json");
  if (!path) GTEST_SKIP() << "no shared reference configs beside this checkout";
  const auto config = ParseModelConfig(*ReadFile(*path), "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->layers, 32);
  EXPECT_EQ(config->q_heads, 32);
  EXPECT_EQ(config->group(), 4);
  EXPECT_EQ(config->hidden_size, 4096);
  EXPECT_EQ(config->intermediate_size, 14336);
  EXPECT_THAT(config->eos_token_ids, ElementsAre(128001));
}

}  // namespace
}  // namespace headlong
