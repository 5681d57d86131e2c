#include "worker/repeat_attention_cuda.h"

#include <utility>

namespace headlong {

using cuda::CheckCuda;

RepeatAttentionCuda::RepeatAttentionCuda(const AttentionShape& shape)
    : group_(shape.group), heads_(shape.heads), sums_(shape.heads.size()) {}

void RepeatAttentionCuda::BeginBatch(const Batch& batch) {
  asked_.clear();
  for (size_t i = 0; i < batch.chunks.size(); ++i) {
    const Chunk& chunk = batch.chunks[i];
    if (!chunk.scores_attention()) continue;
    asked_.push_back({static_cast<int>(i), chunk.period, chunk.first_scored, chunk.copies});
  }
}

void RepeatAttentionCuda::Add(int layer, cuda::ScoredChunk layer_rows, cudaStream_t stream) {
  if (asked_.empty()) return;
  cuda::DeviceArray<cuda::DeviceRepeatSums>& sums = sums_[layer];
  if (sums.size() == 0) {
    sums = cuda::DeviceArray<cuda::DeviceRepeatSums>(std::ssize(heads_[layer]) * group_);
    sums.FillBytes(0);
    CheckCuda(cudaStreamSynchronize(nullptr), "clearing");  // for all streams
  }
  layer_rows.sums = sums.get();
  for (const Asked& asked : asked_) {
    layer_rows.chunk = asked.index;
    layer_rows.period = asked.period;
    layer_rows.first_row = asked.first_scored;
    if (asked.period > 0) {
      CheckCuda(cuda::LaunchRepeatAttention(layer_rows, stream), "attention on copies");
    }
    for (const CopiedPosition& copy : asked.copies) {
      CheckCuda(cuda::LaunchCountCopy(layer_rows, static_cast<int32_t>(copy.row),
                                      static_cast<int32_t>(copy.position), stream),
                "the largest attention");
    }
  }
}

std::vector<AttentionSums> RepeatAttentionCuda::Take(cudaStream_t stream) {
  CheckCuda(cudaStreamSynchronize(stream), "attention on copies");
  std::vector<AttentionSums> result;
  for (size_t layer = 0; layer < sums_.size(); ++layer) {
    if (sums_[layer].size() == 0) continue;
    const std::vector<cuda::DeviceRepeatSums> sums = std::exchange(sums_[layer], {}).Read();
    for (size_t i = 0; i < sums.size(); ++i) {
      const int head = heads_[layer][i / group_];
      result.push_back({static_cast<int>(layer), head * group_ + static_cast<int>(i) % group_,
                        sums[i].echo, sums[i].induction, static_cast<int64_t>(sums[i].copied)});
    }
  }
  return result;
}

}  // namespace headlong
