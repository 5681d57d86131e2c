// What a device must do for the forward pass. Two implementations: CPU (backend_cpu) and CUDA
// (backend_cuda). Calls are made by the step thread only, in program order; on a device with queues
// they may return before the work is done, Wait and ReadFloats wait. Activations are row-major
// [rows][columns] in a number type of the backend's choosing. Nothing is allocated in a step.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "model/dummy_numbers.h"
#include "worker/attention_shape.h"
#include "worker/batch.h"
#include "worker/device_memory.h"
#include "worker/lane_tables.h"
#include "worker/matrix_source.h"
#include "worker/probe.h"

struct CUstream_st;

namespace headlong {

class Backend {
 public:
  virtual ~Backend() = default;

  // ---- load ----
  // `weights`: [outputs][inputs] fp32, row-major; not needed afterwards.
  virtual absl::StatusOr<std::unique_ptr<DeviceMatrix>> LoadMatrix(const float* weights,
                                                                   int outputs, int inputs) = 0;
  virtual absl::StatusOr<std::unique_ptr<DeviceVector>> LoadVector(
      std::span<const float> values) = 0;
  // Rows of the input embedding: [rows][hidden] fp32, the tokens [first_token, first_token + rows).
  virtual absl::StatusOr<std::unique_ptr<DeviceMatrix>> LoadEmbedding(const float* rows,
                                                                      int row_count,
                                                                      int hidden) = 0;
  // The same from stored tensors. Here: read into fp32 on the host first.
  virtual absl::StatusOr<std::unique_ptr<DeviceMatrix>> LoadStoredMatrix(
      const MatrixSource& source);
  virtual absl::StatusOr<std::unique_ptr<DeviceMatrix>> LoadStoredEmbedding(
      const MatrixSource& source);
  virtual absl::StatusOr<Activations> NewActivations(int rows, int columns) = 0;
  // Takes the memory of all caches. Earlier caches and activations are gone.
  virtual absl::Status NewCaches(const AttentionShape& attention, const CacheShape& cache) = 0;

  // ---- one sequence ----
  virtual void ResetSums(int slot) = 0;
  // Between the caches and the host; on a device with queues Wait tells when it is done.
  virtual void CopyLane(const LaneCopy& copy, CopyWay way) = 0;

  // ---- one batch ----
  // Takes what the calls need of the batch, which is not read afterwards. `recordable`: no call up
  // to EndBatch waits, and all are those of any batch with as many rows: a graph may replay them.
  virtual BatchCalls BeginBatch(const Batch& batch, const LaneTables& tables, bool recordable) = 0;
  // All calls of the batch are made; not where they were replayed or one of them failed.
  virtual void EndBatch() {}
  // Forgets all graphs, also one in the making. They may run: what they wait for may never come.
  virtual void DropGraphs() {}
  // out[r][c] = number (first_row + r) * columns + c.   out: [rows][columns]
  virtual void Fill(const DummyNumbers& numbers, int64_t first_row, int rows, int columns,
                    Activations out);
  // out[r] = embedding of token r where this worker has it, else 0.   out: [rows][hidden]
  virtual void Embed(const DeviceMatrix& embedding, int first_token, Activations out) = 0;
  virtual void RmsNorm(Activations x, const DeviceVector& weight, float eps, int rows,
                       Activations out) = 0;
  // x += y, then out = RmsNorm of x.   x, y, out: [rows][size of weight]
  virtual void AddRmsNorm(Activations x, Activations y, const DeviceVector& weight, float eps,
                          int rows, Activations out);
  virtual void Center(Activations x, int rows, int columns, Activations out) = 0;  // x - mean(x)
  // y = x W^T; zeros where W has no inputs.   x: [rows][inputs], y: [rows][outputs]
  virtual void MatMul(DeviceMatrix& weights, Activations x, int rows, Activations y) = 0;
  // out = SiluMul of gate_up = x W^T, which may be left as it was.
  virtual void MatMulSiluMul(DeviceMatrix& weights, Activations x, int rows, Activations gate_up,
                             int columns, Activations out);
  virtual void AddBias(Activations x, const DeviceVector& bias, int rows) = 0;  // x[r] += bias
  // RmsNorm of each head of the batch's q and k.   q_norm, k_norm: [head_dim]
  virtual void NormHeads(int layer, Activations qkv, const DeviceVector& q_norm,
                         const DeviceVector& k_norm, float eps) = 0;
  // What chunks with a period, copied positions or `spectra` measured since the last call.
  virtual std::vector<AttentionSums> TakeAttentionSums() = 0;
  virtual std::vector<HeadMoments> TakeSpectra() = 0;
  // Rotates q and k unless there is ALiBi, attends as each head's policy says, writes what is kept.
  // qkv: [rows][q of held heads | k | v], out: [rows][q of held heads]; without memory: nothing
  // attends, what is kept is written all the same.
  virtual void Attend(int layer, Activations qkv, Activations out) = 0;
  // Of a layer with split heads (kernels/stripes.h). parts: [parts of the layer][rows][group]
  // parts = log-sum-exps of what Attend just computed where a part is this worker's, else 0.
  virtual void WriteLogSums(int layer, int rows, Activations parts) = 0;
  // Scales this worker's part of each split head in `out` to its weight, so that the sum over the
  // workers is the head's output. `parts` holds the log-sum-exps of all workers.
  virtual void ScaleStripes(int layer, int rows, Activations parts, Activations out) = 0;
  // out = silu(gate) * up.   gate_up: [rows][2 * columns], gate first; out: [rows][columns]
  virtual void SiluMul(Activations gate_up, int rows, int columns, Activations out) = 0;
  virtual void Gelu(Activations x, int rows, int columns, Activations out) = 0;
  virtual void Add(Activations x, Activations y, int rows, int columns) = 0;
  virtual void GatherSampled(Activations x, int columns, Activations out) = 0;  // sampled rows
  // out[r] = {largest of x[r], first_token + its first column}; -inf of no columns. out: [rows][2]
  virtual void BestTokens(Activations x, int rows, int first_token, Activations out) = 0;
  virtual bool CanSample(int /*columns*/, int /*parts*/) const { return true; }
  // out[r] = the token that the batch's draw r chooses, where CanSample. logits: part by part
  // [rows][columns of the part], as a gather leaves them; out: [rows]
  virtual void SampleTokens(Activations logits, const std::vector<int>& columns, int rows,
                            Activations out) = 0;
  // Saves rows to / loads them from the hidden states of the exact prefill in progress.
  virtual void SaveHidden(Activations x, const Chunk& chunk) = 0;
  virtual void LoadHidden(const Chunk& chunk, Activations x) = 0;

  // ---- the host's side; here: of a device whose memory is the host's ----
  // Waits until everything called so far is done.
  virtual void Wait() {}
  // Waits, and copies the first `count` numbers to / from host memory.
  virtual void ReadFloats(Activations x, int64_t count, float* out);
  virtual void WriteFloats(const float* values, int64_t count, Activations x);
  // The queue of a GPU (cudaStream_t is this pointer); null where there is none.
  virtual CUstream_st* stream() { return nullptr; }
};

}  // namespace headlong
