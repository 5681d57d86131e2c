// MPT's config.json and the slopes of ALiBi.
#include "model/alibi.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/checkpoint.h"
#include "model/family_tensors.h"
#include "tests/support/paths.h"

namespace headlong {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

Json MptJson() {
  return Json::parse(R"({"architectures": ["MptForCausalLM"], "model_type": "mpt", "d_model": 64,
    "n_heads": 4, "n_layers": 2, "max_seq_len": 2048, "vocab_size": 320, "no_bias": true,
    "learned_pos_emb": true, "norm_type": "low_precision_layernorm",
    "attn_config": {"alibi": true, "attn_impl": "torch", "clip_qkv": null}})");
}

absl::StatusOr<ModelConfig> Parse(const Json& json) {
  return ParseModelConfig(json.dump(), "config.json");
}

std::string Message(const Json& json) { return std::string(Parse(json).status().message()); }

TEST(AlibiSlopes, FallByHalvesForPowersOfTwo) {
  EXPECT_THAT(AlibiSlopes(8, 8),
              ElementsAre(0.5f, 0.25f, 0.125f, 0x1p-4f, 0x1p-5f, 0x1p-6f, 0x1p-7f, 0x1p-8f));
  EXPECT_THAT(AlibiSlopes(1, 8), ElementsAre(0x1p-8f));
  EXPECT_THAT(AlibiSlopes(2, 4), ElementsAre(0.25f, 0x1p-4f));
}

TEST(AlibiSlopes, OfOtherCountsComeFromTheNextPower) {
  EXPECT_THAT(AlibiSlopes(3, 8), ElementsAre(0x1p-4f, 0x1p-8f, 0.25f));
  EXPECT_THAT(AlibiSlopes(6, 8), ElementsAre(0.25f, 0x1p-4f, 0x1p-6f, 0x1p-8f, 0.5f, 0.125f));
}

TEST(MptConfig, ReadsEveryField) {
  const auto config = Parse(MptJson());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->layers, 2);
  EXPECT_EQ(config->q_heads, 4);
  EXPECT_EQ(config->kv_heads, 4);
  EXPECT_EQ(config->head_dim, 16);
  EXPECT_EQ(config->hidden_size, 64);
  EXPECT_EQ(config->intermediate_size, 256);
  EXPECT_EQ(config->max_context, 2048);
  EXPECT_EQ(config->norm, NormType::kLayer);
  EXPECT_EQ(config->norm_eps, 1e-5);
  EXPECT_EQ(config->mlp, MlpType::kGelu);
  EXPECT_TRUE(config->tied_embeddings);
  EXPECT_TRUE(config->rope_frequencies.empty());
  EXPECT_THAT(config->alibi_slopes, ElementsAre(0.25f, 0x1p-4f, 0x1p-6f, 0x1p-8f));
  EXPECT_EQ(DescribePositions(*config), "ALiBi, slopes 0.00390625 to 0.25");
  Json json = MptJson();
  json["attn_config"]["alibi_bias_max"] = 4;
  json["expansion_ratio"] = 2;
  json["layer_norm_epsilon"] = 1e-6;
  json["tie_word_embeddings"] = false;
  const auto other = Parse(json);
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(other->intermediate_size, 128);
  EXPECT_EQ(other->norm_eps, 1e-6);
  EXPECT_FALSE(other->tied_embeddings);
  EXPECT_THAT(other->alibi_slopes, ElementsAre(0.5f, 0.25f, 0.125f, 0.0625f));
}

TEST(MptConfig, RefusesByName) {
  const std::pair<const char*, Json> inside[] = {
      {"alibi", false},
      {"clip_qkv", 8.0},
      {"prefix_lm", true},
      {"qk_ln", true},
      {"softmax_scale", 0.1},
      {"softmax_scale", 0},
      {"kv_n_heads", 2},
      {"attn_type", "multiquery_attention"},
      {"rope", true},
      {"attn_uses_sequence_id", true},
      {"sliding_window_size", 512},
  };
  for (const auto& [key, value] : inside) {
    Json json = MptJson();
    json["attn_config"][key] = value;
    EXPECT_TRUE(absl::IsUnimplemented(Parse(json).status())) << key;
    EXPECT_THAT(Message(json), StartsWith(absl::StrCat("config.json: attn_config: ", key, ": ")));
  }
  const std::pair<const char*, Json> outside[] = {
      {"no_bias", false},          {"norm_type", "rmsnorm"}, {"logit_scale", 0.5},
      {"embedding_fraction", 0.5}, {"alibi", true},  // of other families' layouts
  };
  for (const auto& [key, value] : outside) {
    Json json = MptJson();
    json[key] = value;
    EXPECT_TRUE(absl::IsUnimplemented(Parse(json).status())) << key;
    EXPECT_THAT(Message(json), StartsWith(absl::StrCat("config.json: ", key, ": ")));
  }
}

TEST(MptConfig, NamesWhatIsOutOfRange) {
  Json json = MptJson();
  json["n_heads"] = 5;
  EXPECT_THAT(Message(json), HasSubstr("d_model: must be a multiple of n_heads 5"));
  json = MptJson();
  json.erase("max_seq_len");
  EXPECT_THAT(Message(json), HasSubstr("max_seq_len"));
  json = MptJson();
  json["attn_config"] = 3;
  EXPECT_THAT(Message(json), HasSubstr("attn_config: must be an object"));
  for (const Json& wrong : {Json(0), Json(-8), Json(1000), Json("8")}) {
    json["attn_config"] = {{"alibi_bias_max", wrong}};
    EXPECT_THAT(Message(json), StartsWith("config.json: attn_config: alibi_bias_max: ")) << wrong;
  }
  for (const Json& wrong : {Json(0), Json(1 << 20), Json(1.5)}) {
    json = MptJson();
    json["expansion_ratio"] = wrong;
    EXPECT_THAT(Message(json), StartsWith("config.json: expansion_ratio: ")) << wrong;
  }
}

TEST(MptFolder, HoldsEveryTensor) {
  const auto folder = GoldenPath("families") / "mpt";
  const auto config = LoadModelConfig(folder);
  ASSERT_TRUE(config.ok()) << config.status();
  const auto checkpoint = Checkpoint::Open(folder, *config);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->parameters(), 320 * 48 + 2 * (12 * 48 * 48 + 2 * 48) + 48);
  const TensorRows key = ProjectionRows(*config, 1, Projection::kKey, 2);
  EXPECT_EQ(key.name, "transformer.blocks.1.attn.Wqkv");
  EXPECT_EQ(key.begin, 48 + 2 * 16);
  EXPECT_EQ(key.end, 48 + 3 * 16);
}

}  // namespace
}  // namespace headlong
