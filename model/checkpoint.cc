#include "model/checkpoint.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <numeric>
#include <optional>
#include <set>

#include "absl/strings/str_join.h"
#include "common/json.h"
#include "common/sha256.h"
#include "common/status.h"
#include "model/family_tensors.h"
#include "model/safetensors.h"
#include "model/weight_files.h"

namespace headlong {
namespace {

struct Found {
  const SafetensorsFile* file;
  const StoredTensor* tensor;
};
using FoundByName = std::map<std::string, Found>;

std::string Words(const SafetensorsFile& file, const std::string& name) {
  return absl::StrCat(file.path().string(), ": tensor ", JsonExcerpt(name));
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

std::optional<TensorType> FloatType(const std::string& dtype) {
  if (dtype == "F32") return TensorType::kFloat32;
  if (dtype == "F16") return TensorType::kFloat16;
  if (dtype == "BF16") return TensorType::kBfloat16;
  return std::nullopt;
}

// Adds the tensors of `file`; the index, where there is one, must place each of them there.
absl::Status AddTensors(const SafetensorsFile& file, const WeightFiles& weights,
                        FoundByName& found) {
  const std::string file_name = file.path().filename().string();
  for (const StoredTensor& tensor : file.tensors()) {
    if (!weights.shard_of.empty()) {
      const auto shard = weights.shard_of.find(tensor.name);
      if (shard == weights.shard_of.end()) {
        return absl::InvalidArgumentError(
            absl::StrCat(Words(file, tensor.name), ": is not in the index's weight_map"));
      }
      if (shard->second != file_name) {
        return absl::InvalidArgumentError(absl::StrCat(Words(file, tensor.name), ": belongs in ",
                                                       shard->second, " by the index"));
      }
    }
    found.emplace(tensor.name, Found{&file, &tensor});
  }
  return absl::OkStatus();
}

absl::Status CheckIndexIsMet(const WeightFiles& weights, const std::filesystem::path& model_dir,
                             const FoundByName& found) {
  for (const auto& [tensor, file] : weights.shard_of) {
    if (found.contains(tensor)) continue;
    return absl::InvalidArgumentError(absl::StrCat((model_dir / file).string(), ": tensor ",
                                                   JsonExcerpt(tensor),
                                                   ": is missing, the index places it here"));
  }
  return absl::OkStatus();
}

absl::StatusOr<TensorView> CheckedView(const Found& found, const FamilyTensor& wanted) {
  const StoredTensor& stored = *found.tensor;
  const std::string words = Words(*found.file, stored.name);
  const std::optional<TensorType> type = FloatType(stored.dtype);
  if (!type) {
    return absl::UnimplementedError(absl::StrCat(
        words, ": type ", stored.dtype, " is not supported for weights (F32, F16, BF16 are)"));
  }
  if (stored.shape != wanted.shape) {
    return absl::InvalidArgumentError(absl::StrCat(words, ": shape ", ShapeText(stored.shape),
                                                   ", config.json asks for ",
                                                   ShapeText(wanted.shape)));
  }
  return TensorView{.type = *type,
                    .shape = stored.shape,
                    .data = found.file->data(stored),
                    .bytes = stored.bytes,
                    .dummy = {}};
}

// An output matrix stored beside the embedding it is said to be tied to: which of two different
// ones a program takes depends on the program, so they must be the same.
absl::Status CheckTiedCopy(const FoundByName& found, const ModelConfig& config,
                           const TensorView& embedding) {
  const std::string output = OutputTensor(config);
  const auto it = found.find(output);
  if (it == found.end()) return absl::OkStatus();
  const Found& head = it->second;
  const bool same = head.tensor->shape == embedding.shape &&
                    head.tensor->bytes == embedding.bytes &&
                    std::memcmp(head.file->data(*head.tensor), embedding.data,
                                static_cast<std::size_t>(embedding.bytes)) == 0;
  if (same) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(Words(*head.file, output), ": differs from ",
                                                 EmbeddingTensor(config),
                                                 ", though config.json says tie_word_embeddings"));
}

absl::Status CheckNothingUnexpected(const FoundByName& found, const ModelConfig& config,
                                    const std::map<std::string, TensorView>& wanted) {
  for (const auto& [name, place] : found) {
    if (wanted.contains(name) || IsIgnoredTensor(config, name)) continue;
    return absl::InvalidArgumentError(absl::StrCat(Words(*place.file, name), ": is no part of the ",
                                                   config.architecture,
                                                   " that config.json describes"));
  }
  return absl::OkStatus();
}

}  // namespace

int64_t TensorView::elements() const {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

Checkpoint::~Checkpoint() = default;

absl::StatusOr<std::shared_ptr<const Checkpoint>> Checkpoint::Open(
    const std::filesystem::path& model_dir, const ModelConfig& config) {
  ASSIGN_OR_RETURN(const WeightFiles weights, FindWeightFiles(model_dir));
  std::shared_ptr<Checkpoint> checkpoint(new Checkpoint);
  FoundByName found;
  Sha256 headers;
  for (const std::string& name : weights.names) {
    ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsFile> file,
                     SafetensorsFile::Open(model_dir / name));
    RETURN_IF_ERROR(AddTensors(*file, weights, found));
    headers.Update({reinterpret_cast<const char*>(file->header().data()), file->header().size()});
    checkpoint->files_.push_back(std::move(file));
  }
  RETURN_IF_ERROR(CheckIndexIsMet(weights, model_dir, found));
  checkpoint->fingerprint_ = headers.HexDigest();

  for (const FamilyTensor& wanted : FamilyTensors(config)) {
    const auto it = found.find(wanted.name);
    if (it == found.end()) {
      const std::filesystem::path where =
          weights.shard_of.empty() ? model_dir / weights.names.front() : model_dir;
      return absl::InvalidArgumentError(
          absl::StrCat(where.string(), ": tensor \"", wanted.name, "\": is missing"));
    }
    ASSIGN_OR_RETURN(TensorView view, CheckedView(it->second, wanted));
    checkpoint->parameters_ += view.elements();
    checkpoint->bytes_ += view.bytes;
    checkpoint->tensors_.emplace(wanted.name, std::move(view));
  }
  RETURN_IF_ERROR(CheckNothingUnexpected(found, config, checkpoint->tensors_));
  if (config.tied_embeddings) {
    RETURN_IF_ERROR(CheckTiedCopy(found, config, checkpoint->tensor(EmbeddingTensor(config))));
  }
  return checkpoint;
}

const TensorView& Checkpoint::tensor(const std::string& name) const {
  const auto it = tensors_.find(name);
  if (it == tensors_.end()) std::abort();  // the caller asks for what no family has
  return it->second;
}

std::string Checkpoint::stored_dtype() const {
  const auto largest = std::max_element(
      tensors_.begin(), tensors_.end(),
      [](const auto& a, const auto& b) { return a.second.elements() < b.second.elements(); });
  switch (largest->second.type) {
    case TensorType::kFloat32:
      return "fp32";
    case TensorType::kFloat16:
      return "fp16";
    case TensorType::kBfloat16:
      return "bf16";
  }
  std::abort();
}

}  // namespace headlong
