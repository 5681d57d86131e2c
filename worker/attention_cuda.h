// Attention of one layer for a whole batch on a GPU: rotation, every held head of every chunk, as
// its policy says, and what its cache keeps afterwards. Owns the slabs. CPU twin: attention_cpu.h,
// which rotates nothing. One caller, the step thread; the current device stays the one that Create
// saw. Calls only launch, in the order of the stream; a failed launch ends the process.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/backend.h"
#include "worker/probe.h"

namespace headlong {

class AttentionCuda {
 public:
  // Takes all device memory of the caches and of a step's scratch and work lists.
  // RESOURCE_EXHAUSTED with the bytes asked and free; INVALID_ARGUMENT names the field for a
  // head_dim that is not 64, 80, 96, 128 or 256, more than 16 query heads per KV head, or more than
  // 64 plain first tokens of a coded head that is split.
  static absl::StatusOr<std::unique_ptr<AttentionCuda>> Create(const AttentionShape& attention,
                                                               const CacheShape& cache,
                                                               cudaStream_t stream);
  ~AttentionCuda();

  void ResetSums(int slot);
  // Host memory is read or written in the order of the stream.
  void CopyLane(const LaneCopy& copy, CopyWay way);

  // What of a batch is on the device, and what the launches for it depend on: two batches with
  // equal Launches need the same launches, with the same arguments.
  struct Launches {
    int rows = 0;   // that the lists have room for
    int folds = 0;  // jobs
    int keeps = 0;
    uint64_t merges = 0;  // bits of kinds of layers and their launches: some lane is cut
    Wanted wanted = Wanted::kLogits;
    auto operator<=>(const Launches&) const = default;
  };
  struct OnDevice {
    const uint32_t* tokens = nullptr;  // [rows]
    const int32_t* sampled = nullptr;  // [rows]: sampled rows, then zeros
    const TokenDraw* draws = nullptr;  // of those, where tokens are wanted
    Launches launches;
    bool padded = false;
  };
  // Makes the batch's work lists, with one upload, which brings tokens, sampled rows and their
  // draws, too. Neither argument is read afterwards. `rows`: 0, or for a batch of decode rows how
  // many of them the lists shall have room for; where they need more, they come as they are.
  OnDevice BeginBatch(const Batch& batch, const LaneTables& tables, int rows);
  // Before the first layer: the rotary table, and the work of each layer.
  void Prepare();
  // qkv: device, [rows][q of held heads | k | v] fp32 before rotation; changed where a head of the
  // layer is projected.
  // out: device, [rows][q of held heads] fp32; null: as Backend::Attend.
  void Run(int layer, float* qkv, float* out);
  // What Run left of the layer's split heads: log-sum-exps of each one's own part. On the device.
  StripeRows Stripes(int layer, int rows) const;

  // What chunks that ask saw and computed since the last call. The first waits for the stream.
  std::vector<AttentionSums> TakeSums();
  std::vector<HeadMoments> TakeSpectra();

  int64_t bytes() const;  // device memory taken

 private:
  struct State;
  explicit AttentionCuda(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace headlong
