// Model folders made by tests: a temporary folder, and safetensors bytes from a list or a raw
// header.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/config.h"

namespace headlong {

// A folder of its own, removed with everything in it.
class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "headlong-XXXXXX").string();
    if (mkdtemp(name.data()) != nullptr) path_ = name;
  }
  ~TempFolder() {
    std::error_code error;
    if (!path_.empty()) std::filesystem::remove_all(path_, error);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void Write(const std::string& name, const std::string& bytes) const {
    std::ofstream out(path_ / name, std::ios::binary | std::ios::trunc);
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    ASSERT_TRUE(out.good()) << name;
  }

 private:
  std::filesystem::path path_;
};

inline std::string LittleEndian64(uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(value >> (8 * i) & 0xFF));
  return bytes;
}

// A file with this header, whatever it says, and `payload` bytes of data.
inline std::string RawSafetensors(const std::string& header, size_t payload) {
  return LittleEndian64(header.size()) + header + std::string(payload, '\x3C');
}

struct TestTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::string dtype = "BF16";
};

// A correct file with these tensors one after another; every byte is `fill`.
inline std::string MakeSafetensors(const std::vector<TestTensor>& tensors, char fill = '\x3C') {
  std::vector<std::string> entries;
  int64_t end = 0;
  for (const TestTensor& tensor : tensors) {
    int64_t bytes = tensor.dtype == "F32" ? 4 : tensor.dtype.starts_with("F8") ? 1 : 2;
    for (const int64_t dim : tensor.shape) bytes *= dim;
    entries.push_back(absl::StrCat("\"", tensor.name, "\":{\"dtype\":\"", tensor.dtype,
                                   "\",\"shape\":[", absl::StrJoin(tensor.shape, ","),
                                   "],\"data_offsets\":[", end, ",", end + bytes, "]}"));
    end += bytes;
  }
  const std::string header = absl::StrCat("{", absl::StrJoin(entries, ","), "}");
  return LittleEndian64(header.size()) + header + std::string(static_cast<size_t>(end), fill);
}

// One layer, two query heads, one KV head of 8.
inline ModelConfig TinyConfig() {
  ModelConfig config;
  config.architecture = "LlamaForCausalLM";
  config.layers = 1;
  config.q_heads = 2;
  config.kv_heads = 1;
  config.head_dim = 8;
  config.hidden_size = 16;
  config.intermediate_size = 24;
  config.vocab_size = 32;
  config.max_context = 64;
  config.norm_eps = 1e-5;
  return config;
}

inline std::vector<TestTensor> TinyTensors() {
  const std::string layer = "model.layers.0.";
  return {{"model.embed_tokens.weight", {32, 16}},
          {layer + "input_layernorm.weight", {16}},
          {layer + "self_attn.q_proj.weight", {16, 16}},
          {layer + "self_attn.k_proj.weight", {8, 16}},
          {layer + "self_attn.v_proj.weight", {8, 16}},
          {layer + "self_attn.o_proj.weight", {16, 16}},
          {layer + "post_attention_layernorm.weight", {16}},
          {layer + "mlp.gate_proj.weight", {24, 16}},
          {layer + "mlp.up_proj.weight", {24, 16}},
          {layer + "mlp.down_proj.weight", {16, 24}},
          {"model.norm.weight", {16}},
          {"lm_head.weight", {32, 16}}};
}

inline std::span<const std::byte> AsBytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace headlong
