#include "model/family_tensors.h"

#include "common/status.h"

namespace headlong {
namespace {

// Of a layer's tensors without prefix, all without ".weight".
struct Names {
  std::string_view embedding, layers, final_norm, output;
  std::string_view attention_norm, out, mlp_norm, gate, up, down;
};
constexpr Names kLlamaNames = {
    .embedding = "model.embed_tokens",
    .layers = "model.layers",
    .final_norm = "model.norm",
    .output = "lm_head",
    .attention_norm = "input_layernorm",
    .out = "self_attn.o_proj",
    .mlp_norm = "post_attention_layernorm",
    .gate = "mlp.gate_proj",
    .up = "mlp.up_proj",
    .down = "mlp.down_proj",
};
constexpr Names kMptNames = {
    .embedding = "transformer.wte",
    .layers = "transformer.blocks",
    .final_norm = "transformer.norm_f",
    .output = "lm_head",
    .attention_norm = "norm_1",
    .out = "attn.out_proj",
    .mlp_norm = "norm_2",
    .gate = "",
    .up = "ffn.up_proj",
    .down = "ffn.down_proj",
};
constexpr std::string_view kMptQkv = "attn.Wqkv";

std::string Weight(std::string_view name) { return absl::StrCat(Av(name), ".weight"); }

const Names& NamesOf(const ModelConfig& config) {
  return config.tensors == TensorLayout::kMpt ? kMptNames : kLlamaNames;
}

std::string OfLayer(const ModelConfig& config, int layer, std::string_view name) {
  return absl::StrCat(Av(NamesOf(config).layers), ".", layer, ".", Av(name));
}

struct Widths {
  explicit Widths(const ModelConfig& config)
      : q(int64_t{config.q_heads} * config.head_dim),
        kv(int64_t{config.kv_heads} * config.head_dim) {}
  int64_t q, kv;
};

void AddQkv(const ModelConfig& config, int layer, std::vector<FamilyTensor>& tensors) {
  const Widths widths(config);
  const int64_t hidden = config.hidden_size;
  if (config.tensors == TensorLayout::kMpt) {
    tensors.push_back(
        {Weight(OfLayer(config, layer, kMptQkv)), {widths.q + 2 * widths.kv, hidden}});
    return;
  }
  const std::string prefix = OfLayer(config, layer, "self_attn.");
  tensors.push_back({prefix + "q_proj.weight", {widths.q, hidden}});
  tensors.push_back({prefix + "k_proj.weight", {widths.kv, hidden}});
  tensors.push_back({prefix + "v_proj.weight", {widths.kv, hidden}});
}

void AddQkvVectors(const ModelConfig& config, int layer, std::vector<FamilyTensor>& tensors) {
  const Widths widths(config);
  const std::string prefix = OfLayer(config, layer, "self_attn.");
  if (config.qkv_bias) {
    tensors.push_back({prefix + "q_proj.bias", {widths.q}});
    tensors.push_back({prefix + "k_proj.bias", {widths.kv}});
    tensors.push_back({prefix + "v_proj.bias", {widths.kv}});
  }
  if (config.qk_norm) {
    tensors.push_back({prefix + "q_norm.weight", {config.head_dim}});
    tensors.push_back({prefix + "k_norm.weight", {config.head_dim}});
  }
}

}  // namespace

std::string EmbeddingTensor(const ModelConfig& config) { return Weight(NamesOf(config).embedding); }
std::string FinalNormTensor(const ModelConfig& config) {
  return Weight(NamesOf(config).final_norm);
}
std::string OutputTensor(const ModelConfig& config) { return Weight(NamesOf(config).output); }

LayerNames LayerTensors(const ModelConfig& config, int layer) {
  const Names& names = NamesOf(config);
  const auto full = [&](std::string_view name) {
    return name.empty() ? std::string() : Weight(OfLayer(config, layer, name));
  };
  return {.attention_norm = full(names.attention_norm),
          .out = full(names.out),
          .mlp_norm = full(names.mlp_norm),
          .gate = full(names.gate),
          .up = full(names.up),
          .down = full(names.down)};
}

TensorRows ProjectionRows(const ModelConfig& config, int layer, Projection projection, int head) {
  const Widths widths(config);
  const bool query = projection == Projection::kQuery;
  const int64_t rows = int64_t{config.head_dim} * (query ? config.group() : 1);
  TensorRows result{"", head * rows, (head + 1) * rows};
  if (config.tensors == TensorLayout::kMpt) {
    result.name = OfLayer(config, layer, kMptQkv);
    const int64_t first = query                            ? 0
                          : projection == Projection::kKey ? widths.q
                                                           : widths.q + widths.kv;
    result.begin += first;
    result.end += first;
    return result;
  }
  const char* names[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"};
  result.name = OfLayer(config, layer, names[static_cast<int>(projection)]);
  return result;
}

std::vector<FamilyTensor> FamilyTensors(const ModelConfig& config) {
  const int64_t hidden = config.hidden_size;
  const int64_t mlp = config.intermediate_size;
  std::vector<FamilyTensor> tensors;
  tensors.push_back({EmbeddingTensor(config), {config.vocab_size, hidden}});
  for (int layer = 0; layer < config.layers; ++layer) {
    const LayerNames names = LayerTensors(config, layer);
    tensors.push_back({names.attention_norm, {hidden}});
    AddQkv(config, layer, tensors);
    tensors.push_back({names.out, {hidden, Widths(config).q}});
    AddQkvVectors(config, layer, tensors);
    tensors.push_back({names.mlp_norm, {hidden}});
    if (!names.gate.empty()) tensors.push_back({names.gate, {mlp, hidden}});
    tensors.push_back({names.up, {mlp, hidden}});
    tensors.push_back({names.down, {hidden, mlp}});
  }
  tensors.push_back({FinalNormTensor(config), {hidden}});
  if (!config.tied_embeddings) {
    tensors.push_back({OutputTensor(config), {config.vocab_size, hidden}});
  }
  return tensors;
}

bool IsIgnoredTensor(const ModelConfig& config, std::string_view name) {
  if (config.tied_embeddings && name == OutputTensor(config)) return true;
  return name.ends_with("rotary_emb.inv_freq");
}

}  // namespace headlong
