// Any bytes as a config.json: a status comes back, and what is accepted is in range and gives
// finite rotary frequencies.
#include <cmath>
#include <cstdlib>
#include <string>

#include "model/config.h"

namespace {

void Require(bool ok) {
  if (!ok) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto config = headlong::ParseModelConfig(text, "fuzz");
  if (!config.ok()) {
    Require(!config.status().message().empty());
    return 0;
  }
  Require(config->layers > 0 && config->kv_heads > 0 && config->group() > 0);
  Require(config->q_heads == config->kv_heads * config->group());
  Require(config->head_dim > 0 && config->head_dim <= 256 && config->head_dim % 8 == 0);
  Require(config->hidden_size > 0 && config->intermediate_size > 0 && config->vocab_size > 0);
  Require(config->max_context > 0 && config->rms_norm_eps > 0 && config->rms_norm_eps < 1);
  for (const int64_t id : config->eos_token_ids) Require(id >= 0 && id < config->vocab_size);
  for (const float frequency : config->rope_frequencies) {
    Require(std::isfinite(frequency) && frequency > 0 && frequency <= 1);
  }
  return 0;
}
