// The tensors a model of a family is made of, by their names in a Hugging Face checkpoint. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"

namespace headlong {

struct FamilyTensor {
  std::string name;
  std::vector<int64_t> shape;  // row-major; a projection is [outputs, inputs]
};

// Every tensor that the forward pass reads, embedding first, layer by layer.
std::vector<FamilyTensor> FamilyTensors(const ModelConfig& config);

// Whether a checkpoint of this family may hold `name` though the forward pass does not read it:
// rotary tables that old exports stored, and the copy of the embedding under the output's name.
bool IsIgnoredTensor(const ModelConfig& config, std::string_view name);

}  // namespace headlong
