#include "model/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/status/status.h"
#include "common/sha256.h"
#include "tests/model/model_folder.h"

namespace headlong {
namespace {

using ::testing::HasSubstr;

std::string ErrorOf(const std::vector<TestTensor>& tensors, const ModelConfig& config) {
  const TempFolder folder;
  folder.Write("model.safetensors", MakeSafetensors(tensors));
  return std::string(Checkpoint::Open(folder.path(), config).status().message());
}

ModelConfig Tied() {
  ModelConfig config = TinyConfig();
  config.tied_embeddings = true;
  return config;
}

std::vector<TestTensor> Changed(const std::string& name, const TestTensor& tensor) {
  std::vector<TestTensor> tensors = TinyTensors();
  for (TestTensor& each : tensors) {
    if (each.name == name) each = tensor;
  }
  return tensors;
}

TEST(Checkpoint, OpensAModel) {
  const TempFolder folder;
  const std::string file = MakeSafetensors(TinyTensors());
  folder.Write("model.safetensors", file);
  const auto checkpoint = Checkpoint::Open(folder.path(), TinyConfig());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  int64_t elements = 0;
  for (const TestTensor& tensor : TinyTensors()) {
    const TensorView& view = (*checkpoint)->tensor(tensor.name);
    EXPECT_EQ(view.shape, tensor.shape);
    EXPECT_EQ(view.bytes, view.elements() * 2);
    std::vector<float> values(static_cast<size_t>(view.elements()));
    ToFloat32(view, 0, view.elements(), values.data());
    for (const float value : values) ASSERT_EQ(value, 0.011474609375f);  // 0x3C3C
    elements += view.elements();
  }
  EXPECT_EQ((*checkpoint)->parameters(), elements);
  EXPECT_EQ((*checkpoint)->bytes(), elements * 2);
  EXPECT_EQ((*checkpoint)->stored_dtype(), "bf16");
  Sha256 headers;
  headers.Update(file.substr(0, file.size() - static_cast<size_t>(elements) * 2));
  EXPECT_EQ((*checkpoint)->fingerprint(), headers.HexDigest());
}

TEST(Checkpoint, NamesEachMissingTensor) {
  for (const TestTensor& gone : TinyTensors()) {
    std::vector<TestTensor> tensors = TinyTensors();
    std::erase_if(tensors, [&](const TestTensor& each) { return each.name == gone.name; });
    EXPECT_THAT(ErrorOf(tensors, TinyConfig()),
                HasSubstr("model.safetensors: tensor \"" + gone.name + "\": is missing"));
  }
}

TEST(Checkpoint, NamesEachWrongShape) {
  for (const TestTensor& tensor : TinyTensors()) {
    TestTensor wrong = tensor;
    wrong.shape.back() += 1;
    EXPECT_THAT(ErrorOf(Changed(tensor.name, wrong), TinyConfig()),
                HasSubstr("model.safetensors: tensor \"" + tensor.name + "\": shape ["));
    wrong = tensor;
    wrong.shape.push_back(1);
    EXPECT_THAT(ErrorOf(Changed(tensor.name, wrong), TinyConfig()),
                HasSubstr("1], config.json asks"));
  }
  EXPECT_THAT(ErrorOf(Changed("model.layers.0.mlp.up_proj.weight",
                              {"model.layers.0.mlp.up_proj.weight", {16, 24}}),
                      TinyConfig()),
              HasSubstr("shape [16, 24], config.json asks for [24, 16]"));
}

TEST(Checkpoint, NamesATypeItDoesNotRun) {
  const std::string name = "model.layers.0.self_attn.q_proj.weight";
  for (const std::string dtype : {"F8_E4M3", "F8_E5M2", "I16"}) {
    EXPECT_THAT(ErrorOf(Changed(name, {name, {16, 16}, dtype}), TinyConfig()),
                HasSubstr("tensor \"" + name + "\": type " + dtype + " is not supported"));
  }
  EXPECT_EQ(ErrorOf(Changed(name, {name, {16, 16}, "F16"}), TinyConfig()), "");
  EXPECT_EQ(ErrorOf(Changed(name, {name, {16, 16}, "F32"}), TinyConfig()), "");
}

TEST(Checkpoint, NamesWhatIsUnexpected) {
  for (const std::string name :
       {"model.layers.0.self_attn.q_proj.bias", "model.layers.1.input_layernorm.weight",
        "model.layers.0.self_attn.q_norm.weight", "extra", "model.embed_tokens.weight.absmax"}) {
    std::vector<TestTensor> tensors = TinyTensors();
    tensors.push_back({name, {16}});
    EXPECT_THAT(ErrorOf(tensors, TinyConfig()),
                HasSubstr("model.safetensors: tensor \"" + name + "\": is no part of the Llama"));
  }
}

TEST(Checkpoint, IgnoresRotaryTablesOfOldExports) {
  std::vector<TestTensor> tensors = TinyTensors();
  tensors.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", {4}, "F32"});
  tensors.push_back({"model.rotary_emb.inv_freq", {4}, "F32"});
  EXPECT_EQ(ErrorOf(tensors, TinyConfig()), "");
}

TEST(Checkpoint, TiedModelNeedsNoOutputMatrix) {
  std::vector<TestTensor> tensors = TinyTensors();
  tensors.pop_back();
  EXPECT_EQ(ErrorOf(tensors, Tied()), "");
  EXPECT_THAT(ErrorOf(tensors, TinyConfig()), HasSubstr("tensor \"lm_head.weight\": is missing"));
}

TEST(Checkpoint, TiedModelMayHoldTheSameMatrixTwiceButNotTwo) {
  EXPECT_EQ(ErrorOf(TinyTensors(), Tied()), "");
  const TempFolder folder;
  std::string file = MakeSafetensors(TinyTensors());
  file.back() = '\x01';  // of lm_head.weight
  folder.Write("model.safetensors", file);
  EXPECT_THAT(std::string(Checkpoint::Open(folder.path(), Tied()).status().message()),
              HasSubstr("\"lm_head.weight\": differs from model.embed_tokens.weight"));
}

TEST(Checkpoint, NamesFileAndTensorOfATruncatedFile) {
  const TempFolder folder;
  const std::string file = MakeSafetensors(TinyTensors());
  folder.Write("model.safetensors", file.substr(0, file.size() - 100));
  const auto status = Checkpoint::Open(folder.path(), TinyConfig()).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("model.safetensors: tensor \"lm_head.weight\": truncated"));
}

TEST(Checkpoint, HalfAFolder) {
  const TempFolder folder;
  auto status = Checkpoint::Open(folder.path(), TinyConfig()).status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("no weights: neither model.safetensors nor"));
  folder.Write("pytorch_model.bin", "x");
  status = Checkpoint::Open(folder.path(), TinyConfig()).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("pytorch_model.bin is there, but"));
  std::filesystem::create_symlink("../blobs/gone", folder.path() / "model.safetensors");
  status = Checkpoint::Open(folder.path(), TinyConfig()).status();
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("model.safetensors: is a link to a missing file"));
}

TEST(Checkpoint, TensorOutlivesNothingButItsCheckpoint) {
  const TempFolder folder;
  folder.Write("model.safetensors", MakeSafetensors(TinyTensors()));
  auto checkpoint = Checkpoint::Open(folder.path(), TinyConfig());
  ASSERT_TRUE(checkpoint.ok());
  std::filesystem::remove(folder.path() / "model.safetensors");  // the mapping keeps the bytes
  EXPECT_EQ((*checkpoint)->tensor("model.norm.weight").data[0], std::byte{0x3C});
}

TEST(CheckpointDeathTest, AskingForATensorOfNoFamilyEndsTheProcess) {
  const TempFolder folder;
  folder.Write("model.safetensors", MakeSafetensors(TinyTensors()));
  const auto checkpoint = Checkpoint::Open(folder.path(), TinyConfig());
  ASSERT_TRUE(checkpoint.ok());
  EXPECT_DEATH((*checkpoint)->tensor("nope"), "");
}

}  // namespace
}  // namespace headlong
