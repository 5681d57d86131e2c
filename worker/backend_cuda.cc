#include "worker/backend_cuda.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "common/status.h"
#include "worker/attention_cuda.h"
#include "worker/device_matrix_cuda.h"
#include "worker/kernels/cuda_handles.h"
#include "worker/kernels/few_rows_cuda.h"
#include "worker/kernels/matmul_cuda.h"
#include "worker/kernels/op_cuda.h"
#include "worker/kernels/sample_cuda.h"
#include "worker/step_graphs.h"
#include "worker/weight_stage.h"

namespace headlong {
namespace {

using cuda::CheckCuda;
using cuda::DeviceArray;
using cuda::ElementType;

using LoadedMatrix = absl::StatusOr<std::unique_ptr<DeviceMatrix>>;

template <typename T>
absl::Status Take(int64_t size, const std::string& what, DeviceArray<T>& out) {
  if (DeviceArray<T>::Take(size, out)) return absl::OkStatus();
  size_t free = 0, total = 0;
  CheckCuda(cudaMemGetInfo(&free, &total), "asking for free memory");
  return absl::ResourceExhaustedError(absl::StrCat("no memory on the GPU for ", what, ": ",
                                                   size * sizeof(T), " bytes, ", free, " of ",
                                                   total, " are free"));
}

int64_t RoundUp(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

class CudaBackend final : public Backend {
 public:
  CudaBackend(Storage storage, int gpu, bool graphs)
      : uses_graphs_(graphs),
        storage_(storage),
        type_(storage == Storage::kFloat32 ? ElementType::kFloat32 : ElementType::kBfloat16),
        gpu_(gpu) {}
  ~CudaBackend() override { Activate(); }

  absl::Status Start() {
    Activate();
    stream_.emplace();
    ASSIGN_OR_RETURN(matmul_, cuda::MatMul::Create(stream()));
    stage_.emplace(stream());
    graphs_.emplace(stream());
    return absl::OkStatus();
  }

  LoadedMatrix LoadMatrix(const float* weights, int outputs, int inputs) override {
    TensorView tensor;
    return LoadStoredMatrix(SourceOf(weights, outputs, inputs, tensor));
  }

  LoadedMatrix LoadEmbedding(const float* rows, int row_count, int hidden) override {
    TensorView tensor;
    return LoadStoredEmbedding(SourceOf(rows, row_count, hidden, tensor));
  }

  LoadedMatrix LoadStoredMatrix(const MatrixSource& source) override {
    return Load(source, Pitch(source.inputs));
  }
  LoadedMatrix LoadStoredEmbedding(const MatrixSource& source) override {
    return Load(source, source.inputs);
  }

  absl::StatusOr<std::unique_ptr<DeviceVector>> LoadVector(std::span<const float> values) override {
    Activate();
    return std::make_unique<CudaVector>(values);
  }

  absl::StatusOr<Activations> NewActivations(int rows, int columns) override {
    Activate();
    const int64_t count = int64_t{rows} * columns;
    DeviceArray<float> taken;
    RETURN_IF_ERROR(Take(count, absl::StrCat("activations of ", rows, " x ", columns), taken));
    CheckCuda(cudaMemsetAsync(taken.get(), 0, count * sizeof(float), stream()), "clearing");
    buffers_.push_back(std::move(taken));
    const int64_t rounded = rows * Pitch(columns);
    if (type_ == ElementType::kBfloat16 && rounded > input_.size()) {
      RETURN_IF_ERROR(Take(rounded, "inputs of products", input_));
    }
    return Activations{buffers_.back().get(), columns};
  }

  absl::Status NewCaches(const AttentionShape& attention, const CacheShape& cache) override {
    Activate();
    DropCaches();  // the old ones go before the new ones come
    shape_ = attention;
    most_graph_rows_ = std::min(attention.max_rows, cache.max_sequences);
    ASSIGN_OR_RETURN(attention_, AttentionCuda::Create(attention, cache, stream()));
    return absl::OkStatus();
  }

  void ResetSums(int slot) override {
    Activate();
    attention_->ResetSums(slot);
  }
  std::vector<AttentionSums> TakeAttentionSums() override { return attention_->TakeSums(); }
  std::vector<HeadMoments> TakeSpectra() override { return attention_->TakeSpectra(); }
  void CopyLane(const LaneCopy& copy, CopyWay way) override {
    Activate();
    attention_->CopyLane(copy, way);
  }

  BatchCalls BeginBatch(const Batch& batch, const LaneTables& tables, bool recordable) override {
    Activate();
    input_of_ = nullptr;
    const int graph_rows =
        recordable && uses_graphs_ ? GraphRows(batch.rows(), most_graph_rows_) : 0;
    batch_ = attention_->BeginBatch(batch, tables, graph_rows);
    BatchCalls calls;
    calls.rows = batch_.launches.rows;
    calls.samples = static_cast<int>(batch.sampled_rows().size());
    if (batch_.padded) {
      calls.samples = calls.rows;
      calls.replayed = graphs_->Begin(batch_.launches);
    }
    samples_ = calls.samples;
    if (!calls.replayed) attention_->Prepare();
    return calls;
  }

  void EndBatch() override { graphs_->End(); }
  void DropGraphs() override { graphs_->Drop(); }

  void Embed(const DeviceMatrix& embedding, int first_token, Activations out) override {
    const auto& table = static_cast<const CudaMatrix&>(embedding);
    cuda::EmbedCall call;
    call.table = table.memory.get();
    call.type = type_;
    call.table_rows = table.outputs;
    call.first_token = first_token;
    call.tokens = batch_.tokens;
    call.rows = batch_.launches.rows;
    call.columns = out.columns;
    call.out = Written(out);
    cuda::Embed(call, stream());
  }

  void RmsNorm(Activations x, const DeviceVector& weight, float eps, int rows,
               Activations out) override {
    Norm({Floats(x), nullptr, Values(weight), Written(out), {}, rows, Size(weight), eps});
  }

  void AddRmsNorm(Activations x, Activations y, const DeviceVector& weight, float eps, int rows,
                  Activations out) override {
    Norm({Written(x), Floats(y), Values(weight), Written(out), {}, rows, Size(weight), eps});
  }

  void Center(Activations x, int rows, int columns, Activations out) override {
    cuda::Center(Floats(x), rows, columns, Written(out), stream());
  }

  void MatMul(DeviceMatrix& weights, Activations x, int rows, Activations y) override {
    const auto& matrix = static_cast<const CudaMatrix&>(weights);
    if (matrix.inputs == 0) {
      CheckCuda(
          cudaMemsetAsync(Written(y), 0, int64_t{rows} * matrix.outputs * sizeof(float), stream()),
          "clearing");
      return;
    }
    cuda::Product product;
    product.type = type_;
    product.weights = matrix.memory.get();
    product.x = type_ == ElementType::kFloat32 ? x.data : Rounded(x, rows, matrix.inputs);
    product.y = Written(y);
    product.outputs = matrix.outputs;
    product.inputs = matrix.inputs;
    product.pitch = matrix.pitch;
    product.rows = rows;
    matmul_->Run(product);
  }

  void AddBias(Activations x, const DeviceVector& bias, int rows) override {
    cuda::AddBias(Written(x), Values(bias), rows, Size(bias), stream());
  }

  void NormHeads(int layer, Activations qkv, const DeviceVector& q_norm, const DeviceVector& k_norm,
                 float eps) override {
    const int heads = static_cast<int>(shape_.heads[layer].size());
    cuda::NormHeadsCall call;
    call.x = Written(qkv);
    call.row_stride = int64_t{heads} * (shape_.group + 2) * shape_.head_dim;
    call.rows = batch_.launches.rows;
    call.q_heads = heads * shape_.group;
    call.k_heads = heads;
    call.dim = shape_.head_dim;
    call.q_weight = Values(q_norm);
    call.k_weight = Values(k_norm);
    call.eps = eps;
    cuda::NormHeads(call, stream());
  }

  void Attend(int layer, Activations qkv, Activations out) override {
    if (shape_.heads[layer].empty()) return;
    attention_->Run(layer, Floats(qkv), Written(out));
  }

  void WriteLogSums(int layer, int rows, Activations parts) override {
    cuda::WriteLogSums(attention_->Stripes(layer, rows), Written(parts), stream());
  }
  void ScaleStripes(int layer, int rows, Activations parts, Activations out) override {
    cuda::ScaleStripes(attention_->Stripes(layer, rows), Floats(parts), Written(out), stream());
  }

  void SiluMul(Activations gate_up, int rows, int columns, Activations out) override {
    cuda::SiluMul({Floats(gate_up), Written(out), NewInput(out, columns), rows, columns}, stream());
  }

  void Gelu(Activations x, int rows, int columns, Activations out) override {
    cuda::Gelu(Floats(x), int64_t{rows} * columns, Written(out), stream());
  }

  void Add(Activations x, Activations y, int rows, int columns) override {
    cuda::Add(Written(x), Floats(y), int64_t{rows} * columns, stream());
  }

  void GatherSampled(Activations x, int columns, Activations out) override {
    cuda::GatherRows({Floats(x), batch_.sampled, samples_, columns, Written(out)}, stream());
  }

  void BestTokens(Activations x, int rows, int first_token, Activations out) override {
    cuda::BestTokens({Floats(x), rows, x.columns, first_token, Written(out)}, stream());
  }

  bool CanSample(int columns, int parts) const override {
    return columns <= cuda::MostSampledColumns() && parts <= cuda::kMostParts;
  }

  void SampleTokens(Activations logits, const std::vector<int>& columns, int rows,
                    Activations out) override {
    const auto parts = static_cast<int>(columns.size());
    cuda::SampleTokensCall call{Floats(logits), {}, parts, rows, batch_.draws, Written(out)};
    std::partial_sum(columns.begin(), columns.end(), call.first_columns + 1);
    cuda::SampleTokens(call, stream());
  }

  void SaveHidden(Activations x, const Chunk& chunk) override {
    const int64_t needed = shape_.max_context * x.columns;
    if (hidden_.size() < needed) hidden_ = DeviceArray<float>(needed);
    Copy(hidden_.get() + chunk.position * x.columns,
         Floats(x) + int64_t{chunk.first_row} * x.columns, int64_t{chunk.count} * x.columns);
  }
  void LoadHidden(const Chunk& chunk, Activations x) override {
    Copy(Written(x) + int64_t{chunk.first_row} * x.columns,
         hidden_.get() + chunk.position * x.columns, int64_t{chunk.count} * x.columns);
  }

  void Wait() override { stream_->Wait(); }
  void ReadFloats(Activations x, int64_t count, float* out) override {
    Activate();
    if (count > read_back_.size()) read_back_ = cuda::PinnedArray<float>(count);
    CheckCuda(cudaMemcpyAsync(read_back_.get(), x.data, count * sizeof(float),
                              cudaMemcpyDeviceToHost, stream()),
              "reading");
    stream_->Wait();
    constexpr int64_t kPiece = 1 << 16;
#pragma omp parallel for schedule(static) if (count > 4 * kPiece)
    for (int64_t at = 0; at < count; at += kPiece) {
      std::copy_n(read_back_.get() + at, std::min(kPiece, count - at), out + at);
    }
  }
  void WriteFloats(const float* values, int64_t count, Activations x) override {
    Activate();
    if (count > read_back_.size()) read_back_ = cuda::PinnedArray<float>(count);
    std::copy_n(values, count, read_back_.get());
    CheckCuda(cudaMemcpyAsync(Written(x), read_back_.get(), count * sizeof(float),
                              cudaMemcpyHostToDevice, stream()),
              "writing");
    stream_->Wait();
  }

  cudaStream_t stream() override { return stream_->get(); }

 private:
  // The current device is a property of the calling thread.
  void Activate() const { CheckCuda(cudaSetDevice(gpu_), "choosing the GPU"); }

  void DropCaches() {
    graphs_->Drop();
    stream_->Wait();
    buffers_.clear();
    input_ = {};
    input_of_ = nullptr;
    hidden_ = {};
    attention_.reset();
  }

  int64_t Pitch(int64_t inputs) const {
    return type_ == ElementType::kFloat32 ? inputs : RoundUp(inputs, cuda::kPitchStep);
  }

  static MatrixSource SourceOf(const float* values, int rows, int columns, TensorView& tensor) {
    tensor.shape = {rows, columns};
    tensor.data = reinterpret_cast<const std::byte*>(values);
    return {rows, columns, false, {{&tensor, 0, rows, 0, columns}}};
  }

  LoadedMatrix Load(const MatrixSource& source, int64_t pitch) {
    Activate();
    auto matrix = std::make_unique<CudaMatrix>();
    matrix->outputs = source.outputs;
    matrix->inputs = source.inputs;
    matrix->pitch = pitch;
    const int64_t bytes = source.outputs * pitch * ElementBytes(storage_);
    if (!DeviceArray<std::byte>::Take(bytes, matrix->memory)) {
      DropCaches();  // of the epoch before: the new one's come after its weights
      RETURN_IF_ERROR(Take(bytes, absl::StrCat("weights of ", source.outputs, " x ", source.inputs),
                           matrix->memory));
    }
    std::byte* memory = matrix->memory.get();
    if (pitch > source.inputs) {
      CheckCuda(cudaMemsetAsync(memory, 0, bytes, stream()), "clearing");
    }
    stage_->Load(source, {memory, type_, pitch, source.outputs, source.inputs});
    return matrix;
  }

  // Where an operation is about to write. A rounded copy of what was there is out of date.
  float* Written(Activations x) {
    if (input_of_ == x.data) input_of_ = nullptr;
    return Floats(x);
  }

  // Where an operation that writes `out` may leave the rounded copy that a product will want.
  cuda::RoundedRows NewInput(Activations out, int columns) {
    if (type_ == ElementType::kFloat32) return {};
    input_of_ = out.data;
    return {input_.get(), Pitch(columns)};
  }

  const void* Rounded(Activations x, int rows, int columns) {
    if (input_of_ != x.data) {
      cuda::Round(Floats(x), rows, columns, NewInput(x, columns), stream());
    }
    return input_.get();
  }

  void Norm(cuda::RmsNormCall call) {
    call.rounded = NewInput({call.out, call.columns}, call.columns);
    cuda::RmsNorm(call, stream());
  }

  void Copy(float* to, const float* from, int64_t count) {
    CheckCuda(cudaMemcpyAsync(to, from, count * sizeof(float), cudaMemcpyDeviceToDevice, stream()),
              "copying");
  }

  const bool uses_graphs_;
  const Storage storage_;
  const ElementType type_;
  const int gpu_;
  std::optional<cuda::Stream> stream_;
  std::unique_ptr<cuda::MatMul> matmul_;
  std::optional<WeightStage> stage_;
  AttentionShape shape_;
  int most_graph_rows_ = 0;
  AttentionCuda::OnDevice batch_;
  int samples_ = 0;  // of the batch
  std::vector<DeviceArray<float>> buffers_;
  DeviceArray<uint16_t> input_;     // bf16 [rows][pitch]: the rounded copy of input_of_
  const void* input_of_ = nullptr;  // activations
  DeviceArray<float> hidden_;       // [max_context][hidden], taken at the first exact prefill
  cuda::PinnedArray<float> read_back_;
  std::unique_ptr<AttentionCuda> attention_;
  std::optional<StepGraphs> graphs_;  // of all of the above: goes first
};

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(Storage storage, int gpu, bool graphs) {
  auto backend = std::make_unique<CudaBackend>(storage, gpu, graphs);
  RETURN_IF_ERROR(backend->Start());
  return backend;
}

}  // namespace headlong
