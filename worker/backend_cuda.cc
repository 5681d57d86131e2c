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
#include "worker/kernels/load_cuda.h"
#include "worker/kernels/op_cuda.h"
#include "worker/kernels/sample_cuda.h"
#include "worker/products_cuda.h"
#include "worker/step_graphs.h"
#include "worker/weight_stage.h"

namespace headlong {
namespace {

using cuda::CheckCuda;
using cuda::DeviceArray;
using cuda::ElementType;

using LoadedMatrix = absl::StatusOr<std::unique_ptr<DeviceMatrix>>;

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
    products_.emplace(type_, stream());
    RETURN_IF_ERROR(products_->Start());
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
    return Load(source, products_->Pitch(source.inputs));
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
    RETURN_IF_ERROR(
        TakeMemory(count, absl::StrCat("activations of ", rows, " x ", columns), taken));
    CheckCuda(cudaMemsetAsync(taken.get(), 0, count * sizeof(float), stream()), "clearing");
    buffers_.push_back(std::move(taken));
    RETURN_IF_ERROR(products_->Reserve(rows, columns));
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
    products_->ForgetCopy();
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

  void Fill(const DummyNumbers& numbers, int64_t first_row, int rows, int columns,
            Activations out) override {
    cuda::FillBlock({numbers, columns, first_row, 0},
                    {Written(out), ElementType::kFloat32, columns, rows, columns}, stream());
  }

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
    products_->MatMul(static_cast<const CudaMatrix&>(weights), x, rows, y);
  }
  void MatMulSiluMul(DeviceMatrix& weights, Activations x, int rows, Activations gate_up,
                     int /*columns*/, Activations out) override {
    products_->MatMulSiluMul(static_cast<const CudaMatrix&>(weights), x, rows, gate_up, out);
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
    const cuda::RoundedRows copy = products_->NewCopy(out, columns);
    cuda::SiluMul({Floats(gate_up), Floats(out), copy, rows, columns}, stream());
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
    products_->Drop();
    hidden_ = {};
    attention_.reset();
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
      RETURN_IF_ERROR(TakeMemory(bytes,
                                 absl::StrCat("weights of ", source.outputs, " x ", source.inputs),
                                 matrix->memory));
    }
    std::byte* memory = matrix->memory.get();
    if (pitch > source.inputs) {
      CheckCuda(cudaMemsetAsync(memory, 0, bytes, stream()), "clearing");
    }
    stage_->Load(source, {memory, type_, pitch, source.outputs, source.inputs});
    return matrix;
  }

  float* Written(Activations x) { return products_->Written(x); }

  void Norm(cuda::RmsNormCall call) {
    call.rounded = products_->NewCopy({call.out, call.columns}, call.columns);
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
  std::optional<ProductsCuda> products_;
  std::optional<WeightStage> stage_;
  AttentionShape shape_;
  int most_graph_rows_ = 0;
  AttentionCuda::OnDevice batch_;
  int samples_ = 0;  // of the batch
  std::vector<DeviceArray<float>> buffers_;
  DeviceArray<float> hidden_;  // [max_context][hidden], taken at the first exact prefill
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
