// A model family as data: what config.json (layouts of transformers 4 and 5) and
// generation_config.json say, checked. The forward pass branches on these fields, never on names.
// Immutable; readable from any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace headlong {

enum class RopeType { kDefault, kLinear, kLlama3 };

struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000.0;
  double factor = 1.0;
  double low_freq_factor = 1.0;                  // llama3
  double high_freq_factor = 4.0;                 // llama3
  int64_t original_max_position_embeddings = 0;  // llama3

  bool operator==(const RopeConfig&) const = default;
};

struct ModelConfig {
  std::string architecture;  // e.g. "LlamaForCausalLM"
  int layers = 0;
  int q_heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int hidden_size = 0;
  int intermediate_size = 0;
  int vocab_size = 0;
  int64_t max_context = 0;
  double rms_norm_eps = 0;
  bool tied_embeddings = false;
  RopeConfig rope;
  int64_t bos_token_id = -1;  // -1: none
  std::vector<int64_t> eos_token_ids;

  int group() const { return q_heads / kv_heads; }  // query heads per KV head
};

// Reads config.json and, where there, generation_config.json (its eos ids are added). Errors name
// the file and the field. UNIMPLEMENTED names an architecture, activation, rope type or feature
// (attention bias, sliding window, quantisation) that this program does not run.
absl::StatusOr<ModelConfig> LoadModelConfig(const std::filesystem::path& model_dir);
absl::StatusOr<ModelConfig> ParseModelConfig(const std::string& json_text,
                                             const std::string& source);

// Inverse frequencies of the rotary embedding after scaling, head_dim / 2 values in fp32
// (computed in fp64). Sources: RoFormer (Su et al.), position interpolation (Chen et al.),
// Llama 3.1's frequency bands as in Hugging Face transformers' modeling_rope_utils.
std::vector<float> RopeInverseFrequencies(const ModelConfig& config);

}  // namespace headlong
