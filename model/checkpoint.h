// The tensors of a Hugging Face model folder: model.safetensors, or the shards named by
// model.safetensors.index.json. Files are mapped, not read; every field of a header is checked
// before anything is allocated. Immutable after Open; readable from any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/config.h"
#include "model/dummy_numbers.h"

namespace headlong {

enum class TensorType { kFloat32, kFloat16, kBfloat16 };

// A tensor inside a mapped file, or one of dummy numbers. `data` may be unaligned; row-major.
struct TensorView {
  TensorType type = TensorType::kFloat32;
  std::vector<int64_t> shape;
  const std::byte* data = nullptr;  // null: `dummy` says what the numbers are
  int64_t bytes = 0;
  DummyNumbers dummy;

  int64_t elements() const;
};

inline constexpr int ElementBytes(TensorType type) { return type == TensorType::kFloat32 ? 4 : 2; }

// Converts `count` elements starting at element `first` to fp32.
void ToFloat32(const TensorView& tensor, int64_t first, int64_t count, float* out);

class SafetensorsFile;

class Checkpoint {
 public:
  // Checks that every tensor that `config` asks for is there with its shape and a float type, and
  // that nothing else is (a rotary inv_freq buffer of old exports is ignored). Errors name file and
  // tensor.
  static absl::StatusOr<std::shared_ptr<const Checkpoint>> Open(
      const std::filesystem::path& model_dir, const ModelConfig& config);
  // The tensors of `config` without files: seeded random numbers, as bf16, that keep activations
  // near 1; the same for every share of the model.
  static std::shared_ptr<const Checkpoint> Dummy(const ModelConfig& config);
  ~Checkpoint();

  // REQUIRES: `name` is one of the family's tensors.
  const TensorView& tensor(const std::string& name) const;
  // SHA-256 over the headers (length fields included) of all files in name order, lower-case hex.
  const std::string& fingerprint() const { return fingerprint_; }
  int64_t parameters() const { return parameters_; }
  int64_t bytes() const { return bytes_; }
  std::string stored_dtype() const;  // "bf16" | "fp16" | "fp32" of the largest tensor

 private:
  Checkpoint() = default;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, TensorView> tensors_;
  std::string fingerprint_;
  int64_t parameters_ = 0;
  int64_t bytes_ = 0;
};

}  // namespace headlong
