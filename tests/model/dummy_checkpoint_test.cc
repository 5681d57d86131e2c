#include <gtest/gtest.h>

#include <cmath>

#include "model/checkpoint.h"
#include "model/family_tensors.h"
#include "tests/model/model_folder.h"

namespace headlong {
namespace {

std::vector<float> All(const TensorView& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.elements()));
  ToFloat32(tensor, 0, tensor.elements(), values.data());
  return values;
}

TEST(DummyCheckpoint, HasEveryTensorWithoutAFile) {
  const ModelConfig config = TinyConfig();
  const auto checkpoint = Checkpoint::Dummy(config);
  int64_t elements = 0;
  for (const FamilyTensor& wanted : FamilyTensors(config)) {
    EXPECT_EQ(checkpoint->tensor(wanted.name).shape, wanted.shape);
    elements += checkpoint->tensor(wanted.name).elements();
  }
  EXPECT_EQ(checkpoint->parameters(), elements);
  EXPECT_EQ(checkpoint->stored_dtype(), "bf16");
  EXPECT_EQ(checkpoint->fingerprint(), Checkpoint::Dummy(config)->fingerprint());
  ModelConfig other = config;
  other.layers += 1;
  EXPECT_NE(checkpoint->fingerprint(), Checkpoint::Dummy(other)->fingerprint());
}

TEST(DummyCheckpoint, NumbersHaveTheirVarianceAndAnyPartIsTheSame) {
  const auto checkpoint = Checkpoint::Dummy(TinyConfig());
  const TensorView& table = checkpoint->tensor("model.embed_tokens.weight");
  const std::vector<float> values = All(table);
  double sum = 0, squares = 0;
  for (const float value : values) {
    sum += value;
    squares += double{value} * value;
  }
  const double count = static_cast<double>(values.size());
  EXPECT_NEAR(sum / count, 0, 0.1 / std::sqrt(table.shape[1]));
  EXPECT_NEAR(squares / count * static_cast<double>(table.shape[1]), 1, 0.15);
  std::vector<float> part(7);
  ToFloat32(table, 5, 7, part.data());
  for (int i = 0; i < 7; ++i) EXPECT_EQ(part[i], values[5 + i]);
  EXPECT_NE(All(checkpoint->tensor("model.layers.0.mlp.gate_proj.weight"))[0],
            All(checkpoint->tensor("model.layers.0.mlp.up_proj.weight"))[0]);
  for (const float one : All(checkpoint->tensor("model.norm.weight"))) EXPECT_EQ(one, 1);
}

}  // namespace
}  // namespace headlong
