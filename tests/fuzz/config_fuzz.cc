// Any bytes as a config.json, and after a NUL as a generation_config.json: a status comes back, and
// what is accepted is in range and gives finite rotary frequencies.
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "model/config.h"
#include "tests/fuzz/require.h"
#include "tests/fuzz/split.h"

using headlong::Require;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto texts = headlong::SplitTexts<2>(data, size);
  auto config = headlong::ParseModelConfig(texts[0], "fuzz");
  if (!config.ok()) {
    Require(!config.status().message().empty());
    return 0;
  }
  const absl::Status defaults = headlong::ApplyGenerationConfig(texts[1], "fuzz", *config);
  Require(defaults.ok() || !defaults.message().empty());
  Require(config->layers > 0 && config->kv_heads > 0 && config->group() > 0);
  Require(config->q_heads == config->kv_heads * config->group());
  Require(config->head_dim > 0 && config->head_dim <= 256 && config->head_dim % 8 == 0);
  Require(config->hidden_size > 0 && config->intermediate_size > 0 && config->vocab_size > 0);
  Require(config->max_context > 0 && config->norm_eps > 0 && config->norm_eps < 1);
  Require(config->layer_windows.empty() ||
          config->layer_windows.size() == static_cast<size_t>(config->layers));
  for (const int64_t window : config->layer_windows) {
    Require(window >= 0 && window < config->max_context);
  }
  for (const int64_t id : config->eos_token_ids) Require(id >= 0 && id < config->vocab_size);
  for (const float frequency : config->rope_frequencies) {
    Require(std::isfinite(frequency) && frequency > 0 && frequency <= 1);
  }
  return 0;
}
