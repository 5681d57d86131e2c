#include "model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/json.h"
#include "tests/model/model_folder.h"

namespace headlong {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

Json LlamaJson() {
  return Json::parse(R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
    "hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 320, "rms_norm_eps": 1e-5,
    "max_position_embeddings": 512, "hidden_act": "silu", "bos_token_id": 0, "eos_token_id": 1})");
}

absl::StatusOr<ModelConfig> Parse(const Json& json) {
  return ParseModelConfig(json.dump(), "config.json");
}
absl::StatusOr<ModelConfig> With(const std::string& key, const Json& value) {
  Json json = LlamaJson();
  json[key] = value;
  return Parse(json);
}
absl::StatusOr<ModelConfig> Without(const std::string& key) {
  Json json = LlamaJson();
  json.erase(key);
  return Parse(json);
}
std::string Message(const absl::StatusOr<ModelConfig>& config) {
  return std::string(config.status().message());
}

TEST(ParseModelConfig, ReadsEveryField) {
  const auto config = Parse(LlamaJson());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->architecture, "LlamaForCausalLM");
  EXPECT_EQ(config->layers, 2);
  EXPECT_EQ(config->q_heads, 4);
  EXPECT_EQ(config->kv_heads, 2);
  EXPECT_EQ(config->group(), 2);
  EXPECT_EQ(config->head_dim, 16);
  EXPECT_EQ(config->hidden_size, 64);
  EXPECT_EQ(config->intermediate_size, 176);
  EXPECT_EQ(config->vocab_size, 320);
  EXPECT_EQ(config->max_context, 512);
  EXPECT_EQ(config->norm_eps, 1e-5);
  EXPECT_FALSE(config->tied_embeddings);
  EXPECT_EQ(config->bos_token_id, 0);
  EXPECT_THAT(config->eos_token_ids, ElementsAre(1));
}

TEST(ParseModelConfig, FillsWhatIsAbsent) {
  EXPECT_EQ(Without("num_key_value_heads")->kv_heads, 4);
  EXPECT_EQ(With("num_key_value_heads", nullptr)->kv_heads, 4);
  EXPECT_EQ(Without("head_dim")->head_dim, 16);
  EXPECT_EQ(With("head_dim", nullptr)->head_dim, 16);
  EXPECT_EQ(With("head_dim", 48)->head_dim, 48);
  EXPECT_EQ(Without("bos_token_id")->bos_token_id, -1);
  EXPECT_TRUE(Without("eos_token_id")->eos_token_ids.empty());
  EXPECT_TRUE(Without("hidden_act").ok());
  EXPECT_TRUE(Without("model_type").ok());
  EXPECT_TRUE(With("hidden_act", "swish").ok());
  EXPECT_TRUE(With("tie_word_embeddings", true)->tied_embeddings);
  EXPECT_THAT(With("eos_token_id", Json::array({5, 7, 5}))->eos_token_ids, ElementsAre(5, 7));
}

TEST(ParseModelConfig, MistralWithoutWindowIsTheSame) {
  Json json = LlamaJson();
  json["architectures"] = {"MistralForCausalLM"};
  json["model_type"] = "mistral";
  ASSERT_TRUE(Parse(json).ok());  // the default window exceeds this context
  EXPECT_TRUE(Parse(json)->layer_windows.empty());
  json["max_position_embeddings"] = 32768;
  EXPECT_THAT(Parse(json)->layer_windows, ElementsAre(4096, 4096));  // where config.json is silent
  json["sliding_window"] = nullptr;
  EXPECT_TRUE(Parse(json)->layer_windows.empty());
  json["sliding_window"] = 32768;
  EXPECT_TRUE(Parse(json)->layer_windows.empty());
  json["sliding_window"] = 32767;
  EXPECT_EQ(Parse(json)->window(1), 32767);
  json["layer_types"] = {"full_attention", "full_attention"};
  EXPECT_THAT(Message(Parse(json)), HasSubstr("layer_types: names full_attention, but"));
  json.erase("layer_types");
  json["sliding_window"] = "no";
  EXPECT_TRUE(absl::IsInvalidArgument(Parse(json).status()));
  json["sliding_window"] = nullptr;
  json.erase("num_key_value_heads");
  json["num_attention_heads"] = 16;
  EXPECT_EQ(Parse(json)->kv_heads, 8);
}

TEST(ParseModelConfig, WindowsOfQwen) {
  Json json = LlamaJson();
  json["architectures"] = {"Qwen2ForCausalLM"};
  json["model_type"] = "qwen2";
  json["sliding_window"] = 64;
  EXPECT_TRUE(Parse(json)->qkv_bias);
  EXPECT_TRUE(Parse(json)->layer_windows.empty());  // unless use_sliding_window
  json["use_sliding_window"] = true;
  EXPECT_TRUE(Parse(json)->layer_windows.empty());  // max_window_layers is 28
  json["max_window_layers"] = 1;
  EXPECT_THAT(Parse(json)->layer_windows, ElementsAre(0, 64));
  json["layer_types"] = {"sliding_attention", "full_attention"};
  EXPECT_THAT(Parse(json)->layer_windows, ElementsAre(64, 0));
  json["use_sliding_window"] = false;
  EXPECT_THAT(Message(Parse(json)), HasSubstr("layer_types: names sliding_attention, but"));
  json["layer_types"] = {"full_attention"};
  EXPECT_THAT(Message(Parse(json)), HasSubstr("layer_types: must name num_hidden_layers 2"));
  json["layer_types"] = {"full_attention", "chunked_attention"};
  EXPECT_TRUE(absl::IsUnimplemented(Parse(json).status()));
}

TEST(ParseModelConfig, Qwen3HasNormsAndItsOwnHeadDim) {
  Json json = LlamaJson();
  json["architectures"] = {"Qwen3ForCausalLM"};
  json["model_type"] = "qwen3";
  json.erase("head_dim");
  EXPECT_TRUE(Parse(json)->qk_norm);
  EXPECT_FALSE(Parse(json)->qkv_bias);
  EXPECT_EQ(Parse(json)->head_dim, 128);
  json["num_attention_heads"] = 65;
  json["num_key_value_heads"] = 1;
  EXPECT_THAT(Message(Parse(json)), HasSubstr("num_key_value_heads: more than 64 query heads"));
}

TEST(ParseModelConfig, RefusesFeaturesByName) {
  const std::pair<const char*, Json> cases[] = {
      {"attention_bias", true},
      {"mlp_bias", true},
      {"hidden_act", "gelu"},
      {"hidden_act", "relu"},
      {"sliding_window", 32},
      {"quantization_config", Json{{"quant_method", "fp8"}}},
      {"pretraining_tp", 2},
      {"num_experts", 8},
      {"num_local_experts", 8},
      {"n_routed_experts", 64},
      {"partial_rotary_factor", 0.5},
      {"attn_logit_softcapping", 50.0},
      {"logit_scale", 0.0625},
      {"use_qk_norm", true},
      {"final_logit_softcapping", 30.0},
      {"query_pre_attn_scalar", 256},
      {"attention_multiplier", 0.0078125},
      {"embedding_multiplier", 12.0},
      {"residual_multiplier", 0.22},
      {"scale_emb", 12},
      {"scale_depth", 1.4},
      {"dim_model_base", 256},
      {"hidden_activation", "gelu_pytorch_tanh"},
      {"clip_qkv", 8.0},
      {"swiglu_limit", 10.0},
      {"no_rope_layers", Json::array({1, 0})},
      {"no_rope_layer_interval", 4},
      {"rotary_dim", 8},
      {"rotary_emb_base", 1000000},
      {"v_head_dim", 8},
      {"kv_lora_rank", 512},
      {"attn_type_list", Json::array({1, 0})},
      {"hybrid_override_pattern", "M*"},
      {"attention_chunk_size", 128},
      {"use_logn_attn", true},
      {"use_parallel_residual", true},
      {"use_gemma_norm", true},
      {"pruned_heads", Json{{"0", {1}}}},
      {"no_bias", false},
      {"scale_attn_weights", false},
      {"position_embedding_type", "nope"},
      {"layer_types", Json::array({"full_attention", "linear_attention"})},
  };
  for (const auto& [key, value] : cases) {
    const auto config = With(key, value);
    EXPECT_TRUE(absl::IsUnimplemented(config.status())) << key << ": " << config.status();
    EXPECT_THAT(Message(config), StartsWith(absl::StrCat("config.json: ", key, ": "))) << value;
  }
}

TEST(ParseModelConfig, AcceptsFeaturesThatAreOff) {
  const std::pair<const char*, Json> cases[] = {
      {"attention_bias", false},
      {"mlp_bias", false},
      {"pretraining_tp", 1},
      {"quantization_config", nullptr},
      {"num_experts", 0},
      {"partial_rotary_factor", 1.0},
      {"sliding_window", nullptr},
      {"sliding_window", 512},
      {"logit_scale", 1},
      {"layer_types", {"full_attention", "full_attention"}},
      {"attention_multiplier", 0.25},
      {"query_pre_attn_scalar", 16},
      {"rotary_dim", 16},
      {"rotary_emb_base", 10000},
      {"no_rope_layers", Json::array({1, 1})},
      {"attn_type_list", Json::array({1, 1})},
      {"pruned_heads", Json::object()},
      {"clip_qkv", nullptr},
      {"scale_emb", 1},
      {"no_bias", true},
      {"kv_lora_rank", nullptr},
      {"position_embedding_type", "rope"},
      {"hidden_activation", "silu"},
      {"mlp_only_layers", Json::array()},
      {"scale_attn_weights", true},
      {"dim_model_base", 64},
      {"rope_scaling", nullptr},
      {"some_field_of_tomorrow", Json::array({1})}};
  for (const auto& [key, value] : cases) EXPECT_TRUE(With(key, value).ok()) << key;
}

// What a family has by itself may be said again.
TEST(ParseModelConfig, AcceptsWhatTheFamilyHas) {
  Json json = LlamaJson();
  json["architectures"] = {"Qwen2ForCausalLM"};
  json["model_type"] = "qwen2";
  json["attention_bias"] = true;
  EXPECT_TRUE(Parse(json).ok());
  json["architectures"] = {"Qwen3ForCausalLM"};
  json["model_type"] = "qwen3";
  json["use_qk_norm"] = true;
  EXPECT_THAT(Message(Parse(json)), StartsWith("config.json: attention_bias: a bias in attention"));
  json["attention_bias"] = false;
  EXPECT_TRUE(Parse(json).ok());
}

TEST(ParseModelConfig, ContextOfScaledRotaryEmbeddings) {
  const auto context = [](const Json& scaling) {
    const auto config = With("rope_scaling", scaling);
    EXPECT_TRUE(config.ok()) << config.status();
    return config.ok() ? config->max_context : 0;
  };
  Json yarn = {{"rope_type", "yarn"}, {"factor", 4}, {"original_max_position_embeddings", 512}};
  EXPECT_EQ(context(yarn), 2048);  // as Qwen's guide has it
  yarn["original_max_position_embeddings"] = 128;
  EXPECT_EQ(context(yarn), 512);  // max_position_embeddings is the larger number already
  yarn["original_max_position_embeddings"] = 64;
  EXPECT_EQ(context(yarn), 512);
  yarn.erase("original_max_position_embeddings");
  EXPECT_EQ(context(yarn), 2048);
  yarn["factor"] = 1.5;
  EXPECT_EQ(context(yarn), 768);
  yarn["factor"] = 1e6;
  EXPECT_EQ(context(yarn), 512'000'000);
  EXPECT_EQ(context({{"type", "linear"}, {"factor", 2.5}}), 1280);
  EXPECT_EQ(context({{"rope_type", "llama3"},
                     {"factor", 8},
                     {"low_freq_factor", 1},
                     {"high_freq_factor", 4},
                     {"original_max_position_embeddings", 128}}),
            512);
  EXPECT_EQ(context(nullptr), 512);
  Json huge = LlamaJson();
  huge["max_position_embeddings"] = 1 << 20;
  huge["rope_scaling"] = {{"type", "linear"}, {"factor", 1e6}};
  EXPECT_EQ(Parse(huge)->max_context, int64_t{1} << 30);
}

TEST(ParseModelConfig, RefusesArchitecturesByName) {
  for (const std::string name : {"Qwen2MoeForCausalLM", "Qwen3MoeForCausalLM", "MixtralForCausalLM",
                                 "GemmaForCausalLM", "NoSuchModel"}) {
    const auto config = With("architectures", Json::array({name}));
    EXPECT_TRUE(absl::IsUnimplemented(config.status())) << name;
    EXPECT_THAT(Message(config), HasSubstr(name));
  }
  EXPECT_THAT(
      Message(With("architectures", Json::array({"Nope"}))),
      HasSubstr("LlamaForCausalLM, MistralForCausalLM, MptForCausalLM, Qwen2ForCausalLM, "));
  EXPECT_THAT(Message(With("model_type", "mixtral")), HasSubstr("model_type: must be \"llama\""));
}

TEST(ParseModelConfig, RefusesBadFields) {
  const std::pair<const char*, std::vector<Json>> cases[] = {
      {"architectures",
       {Json(), "LlamaForCausalLM", Json::array(), Json::array({1}),
        Json::array({"LlamaForCausalLM", "LlamaForCausalLM"})}},
      {"num_hidden_layers", {0, -1, 1.5, "2", nullptr, 1000000, 1e30}},
      {"num_attention_heads", {0, -4, true, 1 << 20}},
      {"num_key_value_heads", {0, 3, -2, "2", 8}},
      {"hidden_size", {0, -64, int64_t{1} << 40, nullptr}},
      {"intermediate_size", {0, nullptr, Json::array()}},
      {"vocab_size", {0, nullptr, int64_t{1} << 33}},
      {"max_position_embeddings", {0, nullptr, "512", -1}},
      {"rms_norm_eps", {0, 1, -1e-5, nullptr, "1e-5"}},
      {"tie_word_embeddings", {1, "yes"}},
      {"bos_token_id", {-1, 320, "0", Json::array({0})}},
      {"eos_token_id", {-1, 320, "1", 1.0, Json::array({1, 320}), Json::array({nullptr}), true}},
      {"hidden_act", {1}},
      {"layer_types", {"full_attention"}},
      {"head_dim", {0, -8}},
  };
  for (const auto& [key, values] : cases) {
    for (const Json& value : values) {
      const auto config = With(key, value);
      EXPECT_TRUE(absl::IsInvalidArgument(config.status()))
          << key << " " << value << config.status();
      EXPECT_THAT(Message(config), HasSubstr(key)) << value;
    }
  }
  for (const int head_dim : {12, 264, 1}) {
    EXPECT_THAT(Message(With("head_dim", head_dim)),
                HasSubstr("head_dim: must be a multiple of 8"));
  }
  Json json = LlamaJson();
  json.erase("head_dim");
  json["hidden_size"] = 66;
  EXPECT_THAT(Message(Parse(json)), HasSubstr("hidden_size: must be a multiple"));
}

TEST(ParseModelConfig, RequiresWhatItCannotGuess) {
  for (const char* key :
       {"architectures", "num_hidden_layers", "num_attention_heads", "hidden_size",
        "intermediate_size", "vocab_size", "max_position_embeddings", "rms_norm_eps"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(Without(key).status())) << key;
    EXPECT_THAT(Message(Without(key)), HasSubstr("is missing"));
  }
  EXPECT_THAT(Message(ParseModelConfig("[]", "c")), HasSubstr("c: must be an object"));
  EXPECT_THAT(Message(ParseModelConfig("{", "c")), HasSubstr("c: not valid JSON"));
}

TEST(LoadModelConfig, NamesWhatIsMissing) {
  const TempFolder folder;
  EXPECT_THAT(Message(LoadModelConfig(folder.path() / "absent")),
              HasSubstr("absent: no such folder"));
  EXPECT_THAT(Message(LoadModelConfig(folder.path())), HasSubstr("no config.json"));
  folder.Write("config.json", LlamaJson().dump());
  EXPECT_TRUE(LoadModelConfig(folder.path()).ok());
  EXPECT_THAT(Message(LoadModelConfig(folder.path() / "config.json")), HasSubstr("is a file"));
}

TEST(LoadModelConfig, UnitesTheEosIds) {
  const TempFolder folder;
  folder.Write("config.json", LlamaJson().dump());
  folder.Write("generation_config.json", R"({"eos_token_id": [7, 1, 9]})");
  EXPECT_THAT(LoadModelConfig(folder.path())->eos_token_ids, ElementsAre(1, 7, 9));
  folder.Write("generation_config.json", R"({"eos_token_id": 8})");
  EXPECT_THAT(LoadModelConfig(folder.path())->eos_token_ids, ElementsAre(1, 8));
  folder.Write("generation_config.json", R"({"eos_token_id": null})");
  EXPECT_THAT(LoadModelConfig(folder.path())->eos_token_ids, ElementsAre(1));
  folder.Write("generation_config.json", R"({"eos_token_id": [320]})");
  EXPECT_THAT(Message(LoadModelConfig(folder.path())),
              HasSubstr("generation_config.json: eos_token_id: must be ids in [0, 319], is 320"));
  folder.Write("generation_config.json", "[]");
  EXPECT_THAT(Message(LoadModelConfig(folder.path())),
              HasSubstr("generation_config.json: must be"));
  folder.Write("generation_config.json", "{");
  EXPECT_THAT(Message(LoadModelConfig(folder.path())),
              HasSubstr("generation_config.json: not valid"));
}

TEST(LoadModelConfig, RefusesAQuantisedFolder) {
  const TempFolder folder;
  folder.Write("config.json", LlamaJson().dump());
  folder.Write("hf_quant_config.json", "{}");
  EXPECT_TRUE(absl::IsUnimplemented(LoadModelConfig(folder.path()).status()));
}

}  // namespace
}  // namespace headlong
