#include "model/family_tensors.h"

#include "common/status.h"

namespace headlong {

std::vector<FamilyTensor> FamilyTensors(const ModelConfig& config) {
  const int64_t hidden = config.hidden_size;
  const int64_t mlp = config.intermediate_size;
  const int64_t q_width = int64_t{config.q_heads} * config.head_dim;
  const int64_t kv_width = int64_t{config.kv_heads} * config.head_dim;

  std::vector<FamilyTensor> tensors;
  tensors.push_back({"model.embed_tokens.weight", {config.vocab_size, hidden}});
  for (int layer = 0; layer < config.layers; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    tensors.push_back({prefix + "input_layernorm.weight", {hidden}});
    tensors.push_back({prefix + "self_attn.q_proj.weight", {q_width, hidden}});
    tensors.push_back({prefix + "self_attn.k_proj.weight", {kv_width, hidden}});
    tensors.push_back({prefix + "self_attn.v_proj.weight", {kv_width, hidden}});
    tensors.push_back({prefix + "self_attn.o_proj.weight", {hidden, q_width}});
    if (config.qkv_bias) {
      tensors.push_back({prefix + "self_attn.q_proj.bias", {q_width}});
      tensors.push_back({prefix + "self_attn.k_proj.bias", {kv_width}});
      tensors.push_back({prefix + "self_attn.v_proj.bias", {kv_width}});
    }
    if (config.qk_norm) {
      tensors.push_back({prefix + "self_attn.q_norm.weight", {config.head_dim}});
      tensors.push_back({prefix + "self_attn.k_norm.weight", {config.head_dim}});
    }
    tensors.push_back({prefix + "post_attention_layernorm.weight", {hidden}});
    tensors.push_back({prefix + "mlp.gate_proj.weight", {mlp, hidden}});
    tensors.push_back({prefix + "mlp.up_proj.weight", {mlp, hidden}});
    tensors.push_back({prefix + "mlp.down_proj.weight", {hidden, mlp}});
  }
  tensors.push_back({"model.norm.weight", {hidden}});
  if (!config.tied_embeddings) tensors.push_back({"lm_head.weight", {config.vocab_size, hidden}});
  return tensors;
}

bool IsIgnoredTensor(const ModelConfig& config, std::string_view name) {
  if (config.tied_embeddings && name == "lm_head.weight") return true;
  return name.ends_with("rotary_emb.inv_freq");
}

}  // namespace headlong
