// A model folder of random weights, and the dense forward pass over it in fp64, one position after
// the other, as plainly as it can be written. Shares no code with the server's but the reading of
// config.json and of tensors.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "common/json.h"
#include "model/checkpoint.h"
#include "model/config.h"

namespace headlong {

struct RandomFolder {
  Json config;                // config.json
  std::string dtype = "F32";  // "F32" | "F16" | "BF16"
  int shards = 1;             // more than one: files with an index
  uint32_t seed = 1;
};

// Writes config.json and the weights into `folder`.
absl::Status WriteRandomModel(const std::filesystem::path& folder, const RandomFolder& spec);

// Logits after the last of `tokens`.
std::vector<double> ReferenceLogits(const Checkpoint& checkpoint, const ModelConfig& config,
                                    const std::vector<uint32_t>& tokens);

}  // namespace headlong
