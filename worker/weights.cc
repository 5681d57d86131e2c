#include "worker/weights.h"

#include <algorithm>
#include <span>
#include <string>
#include <utility>

#include "common/status.h"
#include "model/family_tensors.h"

namespace headlong {
namespace {

// Rows [begin, end) of whole tensors, one below the other.
class Rows {
 public:
  Rows(const Checkpoint& checkpoint, int64_t inputs) : checkpoint_(checkpoint) {
    source_.inputs = static_cast<int>(inputs);
  }

  void Add(const std::string& name, int64_t begin, int64_t end) {
    source_.blocks.push_back(
        {&checkpoint_.tensor(name), begin, end - begin, 0, int64_t{source_.inputs}});
    source_.outputs += static_cast<int>(end - begin);
  }

  const MatrixSource& source() const { return source_; }

 private:
  const Checkpoint& checkpoint_;
  MatrixSource source_;
};

// Columns of every row of a tensor, for each of `ranges`, side by side.
MatrixSource Columns(const TensorView& tensor, const std::vector<IndexRange>& ranges) {
  MatrixSource source;
  source.side_by_side = true;
  source.outputs = static_cast<int>(tensor.shape[0]);
  for (const IndexRange& range : ranges) {
    source.blocks.push_back({&tensor, 0, tensor.shape[0], range.begin, range.size()});
    source.inputs += range.size();
  }
  return source;
}

std::vector<float> WholeVector(const TensorView& tensor) {
  std::vector<float> values(tensor.elements());
  ToFloat32(tensor, 0, tensor.elements(), values.data());
  return values;
}

// Loads one worker's share, part by part, counting bytes.
class ShareLoader {
 public:
  ShareLoader(const Checkpoint& checkpoint, const ModelConfig& config, Backend& backend,
              const Weights::Progress& progress)
      : checkpoint_(checkpoint),
        config_(config),
        backend_(backend),
        progress_(progress),
        element_bytes_(checkpoint.stored_dtype() == "fp32" ? 4 : 2) {}

  void ExpectAttention(const std::vector<int>& heads) { total_ += AttentionBytes(heads); }
  void ExpectMlp(IndexRange columns) { total_ += MlpBytes(columns); }
  void ExpectVocabulary(IndexRange rows) { total_ += VocabularyBytes(rows); }
  void Begin() const { progress_(0, total_); }

  absl::Status LoadAttention(int layer, const std::vector<int>& heads, LayerWeights& out) {
    const LayerNames names = LayerTensors(config_, layer);
    const int64_t q = int64_t{config_.head_dim} * config_.group();
    const Rows qkv = QkvRows(layer, config_.hidden_size, heads);
    ASSIGN_OR_RETURN(out.qkv, backend_.LoadStoredMatrix(qkv.source()));
    if (config_.qkv_bias) {
      const Rows bias = QkvRows(layer, 1, heads);
      ASSIGN_OR_RETURN(out.qkv_bias, backend_.LoadVector(ToFloats(bias.source())));
    }
    if (config_.qk_norm) {
      const std::string prefix = absl::StrCat("model.layers.", layer, ".self_attn.");
      RETURN_IF_ERROR(LoadNorm(prefix + "q_norm.weight", out.q_norm));
      RETURN_IF_ERROR(LoadNorm(prefix + "k_norm.weight", out.k_norm));
    }
    std::vector<IndexRange> columns;
    for (int head : heads) {
      columns.push_back({static_cast<int>(head * q), static_cast<int>((head + 1) * q)});
    }
    ASSIGN_OR_RETURN(out.out,
                     backend_.LoadStoredMatrix(Columns(checkpoint_.tensor(names.out), columns)));
    Count(AttentionBytes(heads));
    return LoadNorm(names.attention_norm, out.attention_norm);
  }

  absl::Status LoadMlp(int layer, IndexRange columns, LayerWeights& out) {
    const LayerNames names = LayerTensors(config_, layer);
    Rows up(checkpoint_, config_.hidden_size);
    if (!names.gate.empty()) up.Add(names.gate, columns.begin, columns.end);
    up.Add(names.up, columns.begin, columns.end);
    ASSIGN_OR_RETURN(out.up, backend_.LoadStoredMatrix(up.source()));
    ASSIGN_OR_RETURN(out.down,
                     backend_.LoadStoredMatrix(Columns(checkpoint_.tensor(names.down), {columns})));
    Count(MlpBytes(columns));
    return LoadNorm(names.mlp_norm, out.mlp_norm);
  }

  absl::Status LoadVocabulary(IndexRange rows, std::unique_ptr<DeviceMatrix>& embedding,
                              std::unique_ptr<DeviceMatrix>& output) {
    Rows input(checkpoint_, config_.hidden_size);
    input.Add(EmbeddingTensor(config_), rows.begin, rows.end);
    ASSIGN_OR_RETURN(embedding, backend_.LoadStoredEmbedding(input.source()));
    Rows head(checkpoint_, config_.hidden_size);
    head.Add(config_.tied_embeddings ? EmbeddingTensor(config_) : OutputTensor(config_), rows.begin,
             rows.end);
    ASSIGN_OR_RETURN(output, backend_.LoadStoredMatrix(head.source()));
    Count(VocabularyBytes(rows));
    return absl::OkStatus();
  }

  absl::Status LoadNorm(const std::string& name, std::unique_ptr<DeviceVector>& out) {
    ASSIGN_OR_RETURN(out, backend_.LoadVector(WholeVector(checkpoint_.tensor(name))));
    return absl::OkStatus();
  }

 private:
  // Weights ([outputs][inputs]) or biases (inputs = 1) of the held heads: q, then k, then v.
  Rows QkvRows(int layer, int64_t inputs, const std::vector<int>& heads) const {
    Rows rows(checkpoint_, inputs);
    for (const Projection part : {Projection::kQuery, Projection::kKey, Projection::kValue}) {
      for (const int head : heads) {
        const TensorRows held = ProjectionRows(config_, layer, part, head);
        rows.Add(held.name + (inputs == 1 ? ".bias" : ".weight"), held.begin, held.end);
      }
    }
    return rows;
  }

  int64_t AttentionBytes(const std::vector<int>& heads) const {
    return int64_t{2} * config_.hidden_size * config_.head_dim * (config_.group() + 1) *
           static_cast<int64_t>(heads.size()) * element_bytes_;
  }
  int64_t MlpBytes(IndexRange columns) const {
    return int64_t{config_.mlp_matrices()} * config_.hidden_size * columns.size() * element_bytes_;
  }
  int64_t VocabularyBytes(IndexRange rows) const {
    return int64_t{2} * config_.hidden_size * rows.size() * element_bytes_;
  }
  void Count(int64_t bytes) {
    done_ += bytes;
    progress_(done_, total_);
  }

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  Backend& backend_;
  const Weights::Progress& progress_;
  const int64_t element_bytes_;  // on disk
  int64_t done_ = 0;
  int64_t total_ = 0;
};

}  // namespace

absl::Status Weights::Load(const Checkpoint& checkpoint, const ModelConfig& config,
                           const Share& share, Backend& backend, const Progress& progress) {
  ShareLoader loader(checkpoint, config, backend, progress);
  const bool first = layers_.empty();
  layers_.resize(config.layers);
  const auto new_heads = [&](int layer) {
    return first || share_.heads[layer] != share.heads[layer];
  };
  const auto new_columns = [&](int layer) {
    return first || share_.mlp_columns[layer] != share.mlp_columns[layer];
  };
  const bool new_vocabulary = first || share_.vocab_rows != share.vocab_rows;
  for (int layer = 0; layer < config.layers; ++layer) {
    if (new_heads(layer)) loader.ExpectAttention(share.heads[layer]);
    if (new_columns(layer)) loader.ExpectMlp(share.mlp_columns[layer]);
  }
  if (new_vocabulary) loader.ExpectVocabulary(share.vocab_rows);
  loader.Begin();
  for (int layer = 0; layer < config.layers; ++layer) {
    const std::string what = absl::StrCat("loading layer ", layer);
    if (new_heads(layer)) {
      const auto status = loader.LoadAttention(layer, share.heads[layer], layers_[layer]);
      if (!status.ok()) return Forget(Annotate(status, what));
    }
    if (new_columns(layer)) {
      const auto status = loader.LoadMlp(layer, share.mlp_columns[layer], layers_[layer]);
      if (!status.ok()) return Forget(Annotate(status, what));
    }
  }
  if (new_vocabulary) {
    const auto status = loader.LoadVocabulary(share.vocab_rows, embedding_, output_);
    if (!status.ok()) return Forget(Annotate(status, "loading the vocabulary"));
  }
  if (first) RETURN_IF_ERROR(loader.LoadNorm(FinalNormTensor(config), final_norm_));
  share_ = share;
  return absl::OkStatus();
}

// A share that is half there is no share: the next Load begins anew.
absl::Status Weights::Forget(absl::Status status) {
  *this = Weights();
  return status;
}

int64_t Weights::bytes() const {
  int64_t bytes = 0;
  const auto count = [&](const std::unique_ptr<DeviceMatrix>& matrix) {
    if (matrix != nullptr) bytes += matrix->bytes();
  };
  for (const LayerWeights& layer : layers_) {
    for (const auto* matrix : {&layer.qkv, &layer.out, &layer.up, &layer.down}) count(*matrix);
  }
  count(embedding_);
  count(output_);
  return bytes;
}

}  // namespace headlong
