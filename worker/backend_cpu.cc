#include "worker/backend_cpu.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <optional>
#include <utility>

#include "common/status.h"
#include "worker/attention_cpu.h"
#include "worker/kernels/matmul_cpu.h"
#include "worker/kernels/op_cpu.h"
#include "worker/projection_cpu.h"
#include "worker/sampler.h"
#include "worker/spectra_cpu.h"

namespace headlong {
namespace {

class CpuMatrix final : public DeviceMatrix {
 public:
  explicit CpuMatrix(cpu::PackedMatrix matrix) : packed(std::move(matrix)) {}
  int64_t bytes() const override { return packed.bytes(); }

  cpu::PackedMatrix packed;
};

// No inputs (a worker without heads in a layer): the product is zero.
class ZeroMatrix final : public DeviceMatrix {
 public:
  int64_t bytes() const override { return 0; }
};

// Rows of the input embedding: bf16 where they are stored so, else fp32.
class CpuEmbedding final : public DeviceMatrix {
 public:
  CpuEmbedding(const float* values, int row_count, int width)
      : rows(row_count), hidden(width), wide_(values, values + int64_t{row_count} * width) {}
  CpuEmbedding(HugeArray<uint16_t> bits, int row_count, int width)
      : rows(row_count), hidden(width), narrow_(std::move(bits)) {}
  int64_t bytes() const override { return int64_t{rows} * hidden * (narrow_ != nullptr ? 2 : 4); }

  void CopyRow(int64_t row, float* out) const {
    if (narrow_ != nullptr) {
      cpu::WidenRow(&narrow_[row * hidden], hidden, out);
    } else {
      std::copy_n(&wide_[row * hidden], hidden, out);
    }
  }

  const int rows;
  const int hidden;

 private:
  const std::vector<float> wide_;  // [rows][hidden]
  const HugeArray<uint16_t> narrow_;
};

struct CpuVector final : public DeviceVector {
  explicit CpuVector(std::span<const float> from) : values(from.begin(), from.end()) {}
  const std::vector<float> values;
};

float* Floats(Activations x) { return static_cast<float*>(x.data); }

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(Storage number_type) : number_type_(number_type) {}

  absl::StatusOr<std::unique_ptr<DeviceMatrix>> LoadMatrix(const float* weights, int outputs,
                                                           int inputs) override {
    return Packed(weights, outputs, inputs);
  }

  absl::StatusOr<std::unique_ptr<DeviceMatrix>> LoadStoredMatrix(
      const MatrixSource& source) override {
    if (!IsBfloat16(source)) return Backend::LoadStoredMatrix(source);
    HugeArray<uint16_t> bits = ToBfloat16Bits(source);
    if (bits == nullptr) return NoMemory(source);
    return Packed(std::move(bits), source.outputs, source.inputs);
  }

  absl::StatusOr<std::unique_ptr<DeviceMatrix>> LoadStoredEmbedding(
      const MatrixSource& source) override {
    if (!IsBfloat16(source)) return Backend::LoadStoredEmbedding(source);
    HugeArray<uint16_t> bits = ToBfloat16Bits(source);
    if (bits == nullptr) return NoMemory(source);
    return std::make_unique<CpuEmbedding>(std::move(bits), source.outputs, source.inputs);
  }

  absl::StatusOr<std::unique_ptr<DeviceVector>> LoadVector(std::span<const float> values) override {
    return std::make_unique<CpuVector>(values);
  }

  absl::StatusOr<std::unique_ptr<DeviceMatrix>> LoadEmbedding(const float* rows, int row_count,
                                                              int hidden) override {
    return std::make_unique<CpuEmbedding>(rows, row_count, hidden);
  }

  absl::StatusOr<Activations> NewActivations(int rows, int columns) override {
    const int64_t count = int64_t{rows} * columns;
    buffers_.emplace_back(new (std::nothrow) float[count]);
    if (buffers_.back() == nullptr) {
      return absl::ResourceExhaustedError(
          absl::StrCat("no memory for activations of ", rows, " x ", columns));
    }
    std::fill_n(buffers_.back().get(), count, 0.0f);
    return Activations{buffers_.back().get(), columns};
  }

  absl::Status NewCaches(const AttentionShape& attention, const CacheShape& cache) override {
    buffers_.clear();
    attention_.reset();  // the old caches go before the new ones come
    shape_ = attention;
    ASSIGN_OR_RETURN(attention_, AttentionCpu::Create(attention, cache));
    projection_.emplace(attention);
    spectra_.emplace(attention);
    cos_sin_.resize(int64_t{attention.max_rows} * attention.head_dim);
    return absl::OkStatus();
  }

  void ResetSums(int slot) override { attention_->ResetSums(slot); }
  std::vector<AttentionSums> TakeAttentionSums() override { return attention_->TakeSums(); }
  std::vector<HeadMoments> TakeSpectra() override { return spectra_->Take(); }

  void CopyLane(const LaneCopy& copy, CopyWay way) override { attention_->CopyLane(copy, way); }

  BatchCalls BeginBatch(const Batch& batch, const LaneTables& tables, bool) override {
    rows_ = batch.rows();
    tokens_ = batch.tokens;
    sampled_ = batch.sampled_rows();
    draws_ = batch.draws;
    if (shape_.alibi_slopes.empty()) MakeRopeTable(batch);
    attention_->BeginBatch(batch, tables);
    batch_ = &batch;
    spectra_wanted_ = std::any_of(batch.chunks.begin(), batch.chunks.end(),
                                  [](const Chunk& chunk) { return chunk.spectra; });
    return {rows_, static_cast<int>(sampled_.size()), false};
  }

  void Embed(const DeviceMatrix& embedding, int first_token, Activations out) override {
    const auto& table = static_cast<const CpuEmbedding&>(embedding);
    float* row = Floats(out);
    for (uint32_t token : tokens_) {
      const int64_t index = int64_t{token} - first_token;
      if (index >= 0 && index < table.rows) {
        table.CopyRow(index, row);
      } else {
        std::fill_n(row, out.columns, 0.0f);
      }
      row += out.columns;
    }
  }

  void RmsNorm(Activations x, const DeviceVector& weight, float eps, int rows,
               Activations out) override {
    const auto& values = static_cast<const CpuVector&>(weight).values;
    cpu::RmsNorm(Floats(x), values.data(), rows, static_cast<int>(values.size()), eps, Floats(out));
  }

  void Center(Activations x, int rows, int columns, Activations out) override {
    cpu::Center(Floats(x), rows, columns, Floats(out));
  }

  void MatMul(DeviceMatrix& weights, Activations x, int rows, Activations y) override {
    if (auto* matrix = dynamic_cast<CpuMatrix*>(&weights)) {
      matrix->packed.Run(Floats(x), rows, Floats(y));
    } else {
      std::fill_n(Floats(y), int64_t{rows} * y.columns, 0.0f);
    }
  }

  void AddBias(Activations x, const DeviceVector& bias, int rows) override {
    const auto& values = static_cast<const CpuVector&>(bias).values;
    cpu::AddBias(Floats(x), values.data(), rows, static_cast<int>(values.size()));
  }

  void NormHeads(int layer, Activations qkv, const DeviceVector& q_norm, const DeviceVector& k_norm,
                 float eps) override {
    const int heads = static_cast<int>(shape_.heads[layer].size());
    cpu::HeadRows rows{Floats(qkv), QkvColumns(heads), rows_, heads * shape_.group,
                       shape_.head_dim};
    cpu::RmsNormHeads(rows, static_cast<const CpuVector&>(q_norm).values.data(), eps);
    rows.x += int64_t{rows.heads} * shape_.head_dim;
    rows.heads = heads;
    cpu::RmsNormHeads(rows, static_cast<const CpuVector&>(k_norm).values.data(), eps);
  }

  void Attend(int layer, Activations qkv, Activations out) override {
    const int heads = static_cast<int>(shape_.heads[layer].size());
    if (heads == 0) return;
    const int64_t columns = QkvColumns(heads);
    if (shape_.alibi_slopes.empty()) {
      // q and k stand next to each other: one call rotates both.
      cpu::ApplyRope(Floats(qkv), columns, rows_, heads * (shape_.group + 1), shape_.head_dim / 2,
                     cos_sin_.data());
    }
    if (spectra_wanted_) spectra_->Add(layer, Floats(qkv), *batch_);
    projection_->Project(layer, Floats(qkv), rows_);
    attention_->Run(layer, Floats(qkv), Floats(out));
    if (out.data != nullptr) projection_->Restore(layer, Floats(out), rows_);
  }

  void WriteLogSums(int layer, int rows, Activations parts) override {
    cpu::WriteLogSums(attention_->Stripes(layer, rows), Floats(parts));
  }

  void ScaleStripes(int layer, int rows, Activations parts, Activations out) override {
    cpu::ScaleStripes(attention_->Stripes(layer, rows), Floats(parts), Floats(out));
  }

  void SiluMul(Activations gate_up, int rows, int columns, Activations out) override {
    cpu::SiluMul(Floats(gate_up), rows, columns, Floats(out));
  }

  void Gelu(Activations x, int rows, int columns, Activations out) override {
    cpu::Gelu(Floats(x), rows, columns, Floats(out));
  }

  void Add(Activations x, Activations y, int rows, int columns) override {
    cpu::Add(Floats(x), Floats(y), int64_t{rows} * columns);
  }

  void GatherSampled(Activations x, int columns, Activations out) override {
    for (size_t i = 0; i < sampled_.size(); ++i) {
      std::copy_n(Floats(x) + int64_t{sampled_[i]} * columns, columns,
                  Floats(out) + static_cast<int64_t>(i) * columns);
    }
  }

  void BestTokens(Activations x, int rows, int first_token, Activations out) override {
#pragma omp parallel for if (rows > 1)
    for (int row = 0; row < rows; ++row) {
      const float* begin = Floats(x) + int64_t{row} * x.columns;
      const float* best = std::max_element(begin, begin + x.columns);
      Floats(out)[2 * row] = x.columns == 0 ? -std::numeric_limits<float>::infinity() : *best;
      Floats(out)[2 * row + 1] = static_cast<float>(first_token + (best - begin));
    }
  }

  void SampleTokens(Activations logits, const std::vector<int>& columns, int rows,
                    Activations out) override {
#pragma omp parallel for schedule(dynamic) if (rows > 1)
    for (int row = 0; row < rows; ++row) {
      std::vector<float> whole;
      const float* part = Floats(logits);
      for (const int width : columns) {
        whole.insert(whole.end(), part + int64_t{row} * width, part + int64_t{row + 1} * width);
        part += int64_t{rows} * width;
      }
      Floats(out)[row] = static_cast<float>(DrawToken(whole, draws_[row]));
    }
  }

  void SaveHidden(Activations x, const Chunk& chunk) override {
    const int64_t needed = chunk.end() * x.columns;
    if (static_cast<int64_t>(hidden_.size()) < needed)
      hidden_.resize(shape_.max_context * x.columns);
    std::memcpy(&hidden_[chunk.position * x.columns],
                Floats(x) + int64_t{chunk.first_row} * x.columns,
                sizeof(float) * chunk.count * x.columns);
  }

  void LoadHidden(const Chunk& chunk, Activations x) override {
    std::memcpy(Floats(x) + int64_t{chunk.first_row} * x.columns,
                &hidden_[chunk.position * x.columns], sizeof(float) * chunk.count * x.columns);
  }

 private:
  template <typename Weights>
  absl::StatusOr<std::unique_ptr<DeviceMatrix>> Packed(Weights weights, int outputs,
                                                       int inputs) const {
    if (inputs == 0) return std::make_unique<ZeroMatrix>();
    const auto type =
        number_type_ == Storage::kBfloat16 ? cpu::MatMulType::kBfloat16 : cpu::MatMulType::kFloat32;
    ASSIGN_OR_RETURN(cpu::PackedMatrix packed,
                     cpu::PackedMatrix::Create(std::move(weights), outputs, inputs, type));
    return std::make_unique<CpuMatrix>(std::move(packed));
  }

  void MakeRopeTable(const Batch& batch) {
    cpu::RopeTable(batch.positions.data(), rows_, shape_.inverse_frequencies.data(),
                   shape_.head_dim / 2, cos_sin_.data());
    if (shape_.rope_scale == 1) return;
    const int64_t count = int64_t{rows_} * shape_.head_dim;
    for (int64_t i = 0; i < count; ++i) cos_sin_[i] *= shape_.rope_scale;
  }

  static absl::Status NoMemory(const MatrixSource& source) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory for weights of ", source.outputs, " x ", source.inputs));
  }

  int64_t QkvColumns(int heads) const {
    return int64_t{heads} * (shape_.group + 2) * shape_.head_dim;
  }

  const Storage number_type_;
  AttentionShape shape_;
  int rows_ = 0;
  std::vector<uint32_t> tokens_;  // of the batch
  std::vector<int32_t> sampled_;
  std::vector<TokenDraw> draws_;
  std::vector<std::unique_ptr<float[]>> buffers_;
  std::vector<float> cos_sin_;    // [rows][2][head_dim / 2]
  std::vector<float> hidden_;     // [max_context][hidden], taken at the first exact prefill
  const Batch* batch_ = nullptr;  // outlives its layers
  bool spectra_wanted_ = false;
  std::optional<SpectraCpu> spectra_;
  std::optional<ProjectionCpu> projection_;  // of the caches'
  std::unique_ptr<AttentionCpu> attention_;
};

}  // namespace

std::unique_ptr<Backend> MakeCpuBackend(Storage number_type) {
  return std::make_unique<CpuBackend>(number_type);
}

}  // namespace headlong
