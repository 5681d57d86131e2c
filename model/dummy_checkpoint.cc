// Numbers in place of files: norms are 1, biases 0, matrices uniform with variance 1 / inputs.
#include <cmath>

#include "common/sha256.h"
#include "common/status.h"
#include "model/checkpoint.h"
#include "model/family_tensors.h"
#include "model/safetensors.h"

namespace headlong {
namespace {

constexpr uint64_t kSeed = 1234;

// FNV-1a: tensors of different names get different numbers.
uint64_t SeedOf(const std::string& name) {
  uint64_t hash = 0xcbf29ce484222325u ^ kSeed;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

}  // namespace

std::shared_ptr<const Checkpoint> Checkpoint::Dummy(const ModelConfig& config) {
  std::shared_ptr<Checkpoint> checkpoint(new Checkpoint);
  Sha256 shapes;
  for (const FamilyTensor& wanted : FamilyTensors(config)) {
    TensorView view;
    view.type = TensorType::kBfloat16;
    view.shape = wanted.shape;
    view.bytes = view.elements() * ElementBytes(view.type);
    view.dummy.seed = SeedOf(wanted.name);
    if (wanted.shape.size() > 1) {
      view.dummy.scale = std::sqrt(3.0f / static_cast<float>(wanted.shape[1]));
    } else {
      view.dummy.offset = wanted.name.ends_with(".bias") ? 0.0f : 1.0f;
    }
    std::string line = absl::StrCat("dummy ", wanted.name);
    for (const int64_t size : wanted.shape) absl::StrAppend(&line, " ", size);
    shapes.Update(line + "\n");
    checkpoint->parameters_ += view.elements();
    checkpoint->bytes_ += view.bytes;
    checkpoint->tensors_.emplace(wanted.name, std::move(view));
  }
  checkpoint->fingerprint_ = shapes.HexDigest();
  return checkpoint;
}

}  // namespace headlong
