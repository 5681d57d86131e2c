#include "model/unsupported_features.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

#include "common/status.h"

namespace headlong {
namespace {

// A field that changes the arithmetic when it is anything but null, false, `neutral`, or a list of
// nothing else.
struct Feature {
  const char* key;
  std::string_view what;
  double neutral = 0;
};

constexpr std::string_view kQuantised = "quantised weights are";
constexpr std::string_view kBias = "a bias is";
constexpr std::string_view kNormOfHeads = "a norm of query and key heads is";
constexpr std::string_view kExperts = "a mixture of experts is";
constexpr std::string_view kPartlyRotated = "a partly rotated head is";
constexpr std::string_view kRotation = "another rotary embedding is";
constexpr std::string_view kUnrotated = "a layer without rotation is";
constexpr std::string_view kPositions = "a position embedding other than the rotary one is";
constexpr std::string_view kCapped = "capped logits are";
constexpr std::string_view kClipped = "clipped values are";
constexpr std::string_view kScaled = "another scale is";
constexpr std::string_view kLayers = "layers of several kinds are";
constexpr std::string_view kLatent = "latent attention is";
constexpr std::string_view kAttention = "another attention is";
constexpr std::string_view kResidual = "another residual stream is";
constexpr std::string_view kNorm = "another norm is";
constexpr std::string_view kShared = "keys and values that layers share are";

constexpr Feature kFeatures[] = {
    {"quantization_config", kQuantised},
    {"quantization", kQuantised},
    {"compression_config", kQuantised},
    {"mlp_bias", kBias},
    {"bias", kBias},
    {"use_bias", kBias},
    {"out_bias", kBias},
    {"attention_out_bias", kBias},
    {"o_proj_bias", kBias},
    {"lm_head_bias", kBias},
    {"num_experts", kExperts},
    {"num_local_experts", kExperts},
    {"n_routed_experts", kExperts},
    {"moe_num_experts", kExperts},
    {"num_experts_per_tok", kExperts},
    {"moe_intermediate_size", kExperts},
    {"pretraining_tp", "tensor-parallel slicing is", 1},
    {"partial_rotary_factor", kPartlyRotated, 1},
    {"rotary_pct", kPartlyRotated, 1},
    {"rotary_percent", kPartlyRotated, 1},
    {"rope_percent", kPartlyRotated, 1},
    {"rope_pct", kPartlyRotated, 1},
    {"rotary_emb_fraction", kPartlyRotated, 1},
    {"qk_rope_head_dim", kPartlyRotated},
    {"qk_nope_head_dim", kPartlyRotated},
    {"rope_interleave", kRotation},
    {"rope_interleaved", kRotation},
    {"rotary_emb_interleaved", kRotation},
    {"rope_ratio", kRotation, 1},
    {"rope_scaling_factor", kRotation, 1},
    {"rope_local_base_freq", kRotation},
    {"use_dynamic_ntk", kRotation},
    {"use_mrope", kRotation},
    {"no_rope_layers", kUnrotated, 1},
    {"no_rope_layer_interval", kUnrotated},
    {"nope_layer_interval", kUnrotated},
    {"alibi", kPositions},
    {"use_alibi", kPositions},
    {"attn_logit_softcapping", kCapped},
    {"attn_logit_softcap", kCapped},
    {"attn_logit_cap", kCapped},
    {"final_logit_softcapping", kCapped},
    {"final_logit_softcap", kCapped},
    {"logits_soft_cap", kCapped},
    {"output_logits_soft_cap", kCapped},
    {"clip_qkv", kClipped},
    {"swiglu_limit", kClipped},
    {"swiglu_alpha", kScaled, 1},
    {"embedding_multiplier", kScaled, 1},
    {"embedding_scale", kScaled, 1},
    {"scale_embedding", kScaled},
    {"scale_embeddings", kScaled},
    {"scale_emb", kScaled, 1},
    {"scale_depth", kScaled},
    {"residual_multiplier", kScaled, 1},
    {"residual_scale", kScaled, 1},
    {"logits_scaling", kScaled, 1},
    {"logit_scale", kScaled, 1},
    {"lm_head_multiplier", kScaled, 1},
    {"key_multiplier", kScaled, 1},
    {"attention_in_multiplier", kScaled, 1},
    {"attention_out_multiplier", kScaled, 1},
    {"attention_value_scale", kScaled, 1},
    {"mlp_multipliers", kScaled, 1},
    {"scale_attn_by_inverse_layer_idx", kScaled},
    {"attn_temperature_tuning", kScaled},
    {"use_logn_attn", kScaled},
    {"use_mup", kScaled},
    {"block_configs", kLayers},
    {"layers_block_type", kLayers},
    {"hybrid_override_pattern", kLayers},
    {"hybrid_layer_pattern", kLayers},
    {"attn_type_list", kLayers, 1},
    {"sliding_window_pattern", kLayers, 1},
    {"kv_lora_rank", kLatent},
    {"q_lora_rank", kLatent},
    {"attention_chunk_size", kAttention},
    {"sliding_window_size", kAttention},
    {"sparse_attention_config", kAttention},
    {"compress_ratios", kAttention},
    {"index_topk", kAttention},
    {"attention_output_gate", kAttention},
    {"attn_output_gate", kAttention},
    {"add_full_attention_sink_bias", kAttention},
    {"add_swa_attention_sink_bias", kAttention},
    {"use_cla", kShared},
    {"cla_share_factor", kShared, 1},
    {"num_kv_shared_layers", kShared},
    {"use_parallel_residual", kResidual},
    {"parallel_attn", kResidual},
    {"apply_residual_connection_post_layernorm", kResidual},
    {"hc_mult", kResidual},
    {"use_gemma_norm", kNorm},
    {"use_post_norm", kNorm},
    {"pruned_heads", "heads left out are"},
    {"is_encoder_decoder", "an encoder is"},
    {"add_cross_attention", "cross attention is"},
};

// The same of what some families have by themselves.
constexpr Feature kBiasesOfAttention[] = {
    {"attention_bias", "a bias in attention is"},
    {"qkv_bias", "a bias in attention is"},
    {"use_qkv_bias", "a bias in attention is"},
};
constexpr Feature kNormsOfHeads[] = {
    {"qk_norm", kNormOfHeads},
    {"use_qk_norm", kNormOfHeads},
    {"qk_layernorm", kNormOfHeads},
};

// Of MPT, outside and inside attn_config.
constexpr std::string_view kOtherNorm = "a norm other than LayerNorm is";
constexpr Feature kFeaturesOfMpt[] = {
    {"embedding_fraction", kScaled, 1},
    {"ffn_config", "another MLP is"},
    {"block_overrides", kLayers},
};
constexpr Feature kFeaturesOfAttention[] = {
    {"clip_qkv", kClipped},
    {"prefix_lm", kAttention},
    {"attn_uses_sequence_id", kAttention},
    {"qk_ln", kNormOfHeads},
    {"qk_gn", kNormOfHeads},
    {"softmax_scale", kScaled, std::numeric_limits<double>::quiet_NaN()},  // any number
    {"attn_logit_softcapping", kCapped},
    {"rope", "rotary embedding beside ALiBi is"},
    {"kv_n_heads", "a KV head for several query heads is"},
    {"sliding_window_size", "a sliding window in a model of this architecture is", -1},
};

// Fields that are on unless they are false.
constexpr Feature kMustBeTrue[] = {
    {"scale_attn_weights", kScaled},
    {"no_bias", kBias},
    {"use_rope", kPositions},
    {"use_rotary_embeddings", kPositions},
};

// Fields that name something, and the names that change nothing.
struct Choice {
  const char* key;
  std::string_view what;
  std::string_view neutral[3];
};
constexpr std::string_view kOtherActivation = "an activation other than silu is";
constexpr Choice kAttentionType = {"attn_type", "another attention is", {"multihead_attention"}};
constexpr Choice kNormOfMpt = {"norm_type", kOtherNorm, {"low_precision_layernorm", "layernorm"}};
constexpr Choice kChoices[] = {
    {"hidden_act", kOtherActivation, {"silu", "swish"}},  // two names of one function
    {"hidden_activation", kOtherActivation, {"silu", "swish"}},
    {"activation_function", kOtherActivation, {"silu", "swish", "swiglu"}},
    {"mlp_hidden_act", kOtherActivation, {"silu", "swish", "swiglu"}},
    {"position_embedding_type", kPositions, {"rope", "rotary"}},
};

absl::Status Unsupported(const std::string& source, std::string_view key, const Json& value,
                         std::string_view what) {
  return absl::UnimplementedError(absl::StrCat(source, ": ", Av(key), ": ", Av(what),
                                               " not supported, is ", JsonExcerpt(value)));
}

bool IsNumber(const Json& value, double neutral) {
  return value.is_number() && value.get<double>() == neutral;
}

bool ChangesNothing(const Json& value, double neutral) {
  if (value.is_null() || value == false || IsNumber(value, neutral)) return true;
  if (value.is_object()) return value.empty();
  return value.is_array() && std::all_of(value.begin(), value.end(), [&](const Json& element) {
           return IsNumber(element, neutral) || element == (neutral != 0);
         });
}

template <typename Features>
absl::Status RefuseEach(const Json& config, const Features& features, const std::string& source) {
  for (const Feature& feature : features) {
    const auto it = config.find(feature.key);
    if (it == config.end() || ChangesNothing(*it, feature.neutral)) continue;
    return Unsupported(source, feature.key, *it, feature.what);
  }
  return absl::OkStatus();
}

absl::Status RefuseChoice(const Json& config, const Choice& choice, const std::string& source) {
  const auto it = config.find(choice.key);
  if (it == config.end() || it->is_null()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string name, JsonString(config, choice.key, source));
  const auto* end = std::end(choice.neutral);
  if (!name.empty() && std::find(std::begin(choice.neutral), end, name) != end) {
    return absl::OkStatus();
  }
  return Unsupported(source, choice.key, name, choice.what);
}

}  // namespace

absl::Status RefuseUnsupportedFeatures(const Json& config, const ModelConfig& model,
                                       const std::string& source) {
  RETURN_IF_ERROR(RefuseEach(config, kFeatures, source));
  if (!model.qkv_bias) RETURN_IF_ERROR(RefuseEach(config, kBiasesOfAttention, source));
  if (!model.qk_norm) RETURN_IF_ERROR(RefuseEach(config, kNormsOfHeads, source));
  for (const Feature& feature : kMustBeTrue) {
    const auto it = config.find(feature.key);
    if (it == config.end() || it->is_null() || *it == true) continue;
    return Unsupported(source, feature.key, *it, feature.what);
  }
  if (model.tensors == TensorLayout::kMpt) {
    RETURN_IF_ERROR(RefuseEach(config, kFeaturesOfMpt, source));
    RETURN_IF_ERROR(RefuseChoice(config, kNormOfMpt, source));
  }
  for (const Choice& choice : kChoices) RETURN_IF_ERROR(RefuseChoice(config, choice, source));
  return absl::OkStatus();
}

absl::Status RefuseUnsupportedAttention(const Json& attn_config, const std::string& source) {
  const auto alibi = attn_config.find("alibi");
  // Hugging Face's class has it on where config.json is silent, as the models it was written for.
  if (alibi != attn_config.end() && *alibi != true) {
    return Unsupported(source, "alibi", *alibi, "a position embedding other than ALiBi is");
  }
  RETURN_IF_ERROR(RefuseEach(attn_config, kFeaturesOfAttention, source));
  return RefuseChoice(attn_config, kAttentionType, source);
}

absl::Status RefuseUnsupportedScales(const Json& config, const ModelConfig& model,
                                     const std::string& source) {
  const double head_dim = model.head_dim;
  const Feature features[] = {
      {"query_pre_attn_scalar", kScaled, head_dim},
      {"attention_multiplier", kScaled, 1 / std::sqrt(head_dim)},
      {"dim_model_base", kScaled, static_cast<double>(model.hidden_size)},
      {"rotary_dim", kPartlyRotated, head_dim},
      {"rotary_emb_base", kRotation, model.rope.theta},
      {"swa_rope_theta", kRotation, model.rope.theta},
      {"attention_head_dim", "a second head size is", head_dim},
      {"kv_channels", "a second head size is", head_dim},
      {"qk_head_dim", "a second head size is", head_dim},
      {"v_head_dim", "a second head size is", head_dim},
  };
  return RefuseEach(config, features, source);
}

}  // namespace headlong
