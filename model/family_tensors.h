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

// Names of weights, but for those of q, k and v.
struct LayerNames {
  std::string attention_norm, out, mlp_norm;
  std::string gate;  // empty: the MLP has none
  std::string up, down;
};
LayerNames LayerTensors(const ModelConfig& config, int layer);
std::string EmbeddingTensor(const ModelConfig& config);
std::string FinalNormTensor(const ModelConfig& config);
std::string OutputTensor(const ModelConfig& config);  // not there where embeddings are tied

// Rows of a stored tensor that are a KV head's part of a projection: of q that of all its query
// heads. Some layouts have q, k and v in one tensor.
enum class Projection { kQuery, kKey, kValue };
struct TensorRows {
  std::string name;  // without ".weight" or ".bias", which have the same rows
  int64_t begin = 0, end = 0;
};
TensorRows ProjectionRows(const ModelConfig& config, int layer, Projection projection, int head);

// Every tensor that the forward pass reads, embedding first, layer by layer.
std::vector<FamilyTensor> FamilyTensors(const ModelConfig& config);

// Whether a checkpoint of this family may hold `name` though the forward pass does not read it:
// rotary tables that old exports stored, and the copy of the embedding under the output's name.
bool IsIgnoredTensor(const ModelConfig& config, std::string_view name);

}  // namespace headlong
