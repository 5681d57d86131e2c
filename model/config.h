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

enum class RopeType { kDefault, kLinear, kLlama3, kYarn };
enum class NormType {
  kRms,   // x / rms(x) * weight
  kLayer  // the same of x less its mean (LayerNorm without bias)
};
enum class MlpType {
  kGatedSilu,  // down(silu(gate(x)) * up(x))
  kGelu        // down(gelu(up(x))), with the error function itself
};
// How a checkpoint names its tensors and lays out q, k and v: model/family_tensors.h.
enum class TensorLayout { kLlama, kMpt };

struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000.0;
  double factor = 1.0;
  double low_freq_factor = 1.0;                  // llama3
  double high_freq_factor = 4.0;                 // llama3
  int64_t original_max_position_embeddings = 0;  // llama3, yarn
  double beta_fast = 32.0;                       // yarn: turns within the original context from
  double beta_slow = 1.0;                        // which on, up to which nothing is interpolated
  bool truncate = true;                          // yarn: the ramp begins and ends at whole pairs
  double attention_factor = 1.0;                 // yarn: cosines and sines are multiplied by it

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
  NormType norm = NormType::kRms;
  double norm_eps = 0;
  MlpType mlp = MlpType::kGatedSilu;
  TensorLayout tensors = TensorLayout::kLlama;
  bool tied_embeddings = false;
  bool qkv_bias = false;  // biases of the query, key and value projections
  bool qk_norm = false;   // RMS norms of every query and key head, before rotation
  // Sliding window by layer: a query at m sees the keys in (m - window, m]. 0: all up to m. Empty:
  // no layer has one. A window that no position of the context can leave is none.
  std::vector<int64_t> layer_windows;
  // ALiBi: a logit of query head h is q.k / sqrt(head_dim) - slope_h * (distance of the key). By
  // query head; empty: positions are rotary.
  std::vector<float> alibi_slopes;
  RopeConfig rope;
  // Inverse frequencies [head_dim / 2] after scaling, in fp32; empty with ALiBi.
  std::vector<float> rope_frequencies;
  int64_t bos_token_id = -1;  // -1: none
  std::vector<int64_t> eos_token_ids;

  int group() const { return q_heads / kv_heads; }  // query heads per KV head
  bool alibi() const { return !alibi_slopes.empty(); }
  int mlp_matrices() const { return mlp == MlpType::kGatedSilu ? 3 : 2; }
  int64_t window(int layer) const { return layer_windows.empty() ? 0 : layer_windows[layer]; }
};

// Reads config.json and, where there, generation_config.json (its eos ids are added). Errors name
// the file and the field. UNIMPLEMENTED names an architecture, activation, rope type or feature
// (experts, quantisation, capped logits) that this program does not run.
absl::StatusOr<ModelConfig> LoadModelConfig(const std::filesystem::path& model_dir);
absl::StatusOr<ModelConfig> ParseModelConfig(const std::string& json_text,
                                             const std::string& source);
// What the text of a generation_config.json adds to `model`. Unchanged where an error comes back.
absl::Status ApplyGenerationConfig(const std::string& json_text, const std::string& source,
                                   ModelConfig& model);

}  // namespace headlong
