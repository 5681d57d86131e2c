// The forward pass of a decoder-only transformer over one worker's share: one function for every
// family, branching on the config's fields only. One owner: the step thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "model/config.h"
#include "worker/backend.h"
#include "worker/batch.h"
#include "worker/collective.h"
#include "worker/share.h"
#include "worker/sum_profile.h"
#include "worker/weights.h"

namespace headlong {

struct ForwardOptions {
  const ModelConfig* config = nullptr;
  const Share* share = nullptr;
  int max_rows = 0;
  int max_samples = 0;                        // sampled rows of one batch
  std::atomic<uint64_t>* progress = nullptr;  // grows with every layer done
};

class Forward {
 public:
  // All of these outlive the object. Takes the memory of the activations: NewCaches comes first.
  static absl::StatusOr<std::unique_ptr<Forward>> Create(const ForwardOptions& options,
                                                         Weights& weights, Backend& backend,
                                                         Collective& collective);

  // Of the rows that are sampled, in the order of the chunks: what the batch wants.
  struct Sampled {
    std::vector<float> logits;     // [rows][vocab_size]
    std::vector<uint32_t> tokens;  // [rows]
  };

  // Runs `batch` through its layers. On the leader `sampled` holds afterwards what it wants; it is
  // left alone where no chunk samples. UNAVAILABLE when a peer vanished.
  absl::Status Run(const Batch& batch, const LaneTables& tables, Sampled& sampled);

  // Queries, keys and values that are numbers of this seed, as wide as in [-1, 1), through all
  // layers: as Run, but only what lanes keep is computed. May still be under way afterwards.
  // REQUIRES: one chunk.
  void Fill(const Batch& batch, const LaneTables& tables, uint64_t seed);

  // The leader's `tokens` come to all, who have as many: between two batches. UNAVAILABLE when a
  // peer vanished.
  absl::Status ShareTokens(std::vector<uint32_t>& tokens);

  // Leader: whether a batch may want tokens, where not all of them are the best.
  bool DrawsTokens() const;

  // As the function of that name, over the residual stream: before the first Run.
  absl::StatusOr<SumProfile> MeasureSums();

  // By layer: the cosine between the residual stream before and after attention, summed over the
  // rows of the last batch, where a chunk asked for it.
  const std::vector<double>& similarities() const { return similarities_; }

  // All products of a step of one row, over whatever the activations hold, and nothing between
  // them. After a Run.
  void MultiplyWeights();
  // The sum over the workers of one number of each. UNAVAILABLE when a peer vanished.
  absl::StatusOr<float> Total(float number);

  // Time spent in collectives since the object was made.
  double collective_ms() const { return collective_ms_; }

 private:
  Forward(const ForwardOptions& options, Weights& weights, Backend& backend,
          Collective& collective);

  absl::Status TakeMemory();
  bool Recordable(const Batch& batch) const;
  bool Samples(const Batch& batch) const;
  absl::Status Compute(const Batch& batch, const BatchCalls& calls);
  absl::Status Enter(const Batch& batch, int rows);
  absl::Status RunLayer(int layer, bool first, int rows);
  void Norm(Activations x, const DeviceVector& weight, int rows, Activations out);
  void AddNorm(Activations x, Activations y, const DeviceVector& weight, int rows, Activations out);
  void MeasureSimilarity(int rows);
  absl::Status CombineStripes(int layer, int rows);
  absl::Status Leave(const Batch& batch, int samples);
  absl::Status Sum(Activations x, int64_t count);
  absl::Status Read(const Batch& batch, int sent, Sampled& sampled);
  absl::Status ReadBest(int sent, int rows, std::vector<uint32_t>& tokens);

  const ForwardOptions options_;
  Weights& weights_;
  Backend& backend_;
  Collective& collective_;
  double collective_ms_ = 0;
  bool measures_similarity_ = false;  // of the batch
  std::vector<double> similarities_;
  std::vector<int> vocab_columns_;  // by rank
  std::vector<int> best_columns_;   // by rank: 2 each
  std::vector<float> best_tokens_;  // leader: [rows][rank]{logit, token}

  Activations x_;       // [rows][hidden]: the residual stream
  Activations normed_;  // [rows][hidden]
  Activations qkv_;     // [rows][(q + k + v) of the layer's held heads]
  Activations heads_;   // [rows][q of the layer's held heads]
  Activations parts_;   // [parts of the layer][rows][group]: log-sum-exps of split heads
  Activations y_;       // [rows][hidden]: what comes to x_ next; before its sum, a part of it
  Activations up_;      // [rows][held columns]; gated: [2 * held columns], gate first
  Activations mlp_;     // [rows][held columns]
  Activations last_;    // [sampled rows][hidden]
  Activations logits_;  // [sampled rows][held vocabulary rows]
  Activations best_;    // [sampled rows]{largest logit, its token}
  Activations drawn_;   // leader: [sampled rows]: tokens
};

}  // namespace headlong
