// Everything a worker holds for one epoch: share, caches, collective, running sequences. Runs
// steps. One owner: the step thread. The device outlives epochs.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "cache/plan.h"
#include "headlong/v1/worker.pb.h"
#include "model/config.h"
#include "worker/collective.h"
#include "worker/epoch_resources.h"
#include "worker/forward.h"
#include "worker/lane_tables.h"
#include "worker/lane_transfer.h"
#include "worker/share.h"
#include "worker/weights.h"

namespace headlong {

class Epoch {
 public:
  // Loads, takes the caches' memory, connects. Errors name what does not fit or who is missing.
  static absl::StatusOr<std::unique_ptr<Epoch>> Begin(const v1::Configure& configure,
                                                      const EpochResources& resources,
                                                      const Weights::Progress& progress);

  // The sequences of the transfer go on with the lanes that came. RESOURCE_EXHAUSTED when they do
  // not fit. Before any step.
  absl::Status Adopt(const LaneTransfer& transfer);

  // FAILED_PRECONDITION: not a step for this epoch; UNAVAILABLE: a peer vanished. After either:
  // none.
  absl::StatusOr<v1::StepDone> Run(const v1::Step& step);

  // Takes a sequence on by tokens whose keys and values are numbers made of seed, layer, position
  // and held heads: into its lanes as those of a prompt, but nothing attends, nothing is
  // multiplied. May still be under way afterwards. FAILED_PRECONDITION: not what comes next of a
  // sequence, or more than a batch or a context holds; RESOURCE_EXHAUSTED without pages. After
  // either: none.
  absl::Status Fill(uint64_t sequence_id, int64_t position, int count, uint64_t seed);

  uint64_t number() const { return number_; }
  const LaneTables& tables() const { return *tables_; }
  PageUse pages(bool retrieval) const {
    return tables_->Pages(retrieval, resources_.config->head_dim, ElementBytes(storage_));
  }
  const SumProfile& sums() const { return sums_; }  // zeros where there is one worker
  // What steps cost here; not set where Configure did not ask for it.
  const std::optional<v1::SharedProfile>& shared() const { return shared_; }
  // Leader: logits of the last batch's sampled rows, [sampled rows][vocab_size].
  const std::vector<float>& logits() const { return sampled_.logits; }

 private:
  struct Sequence {
    v1::SamplingParams sampling;
    int64_t prompt_tokens = 0;
    v1::Probe probe;
  };

  Epoch(uint64_t number, const EpochResources& resources)
      : number_(number), resources_(resources) {}

  absl::Status TakeCaches(const v1::Configure& configure);
  absl::Status Connect();
  struct DrySteps;
  absl::Status MeasureSteps();
  absl::StatusOr<DrySteps> RunDrySteps(int64_t length);
  void FillPages(uint64_t sequence_id);
  absl::Status StartAndEnd(const v1::Step& step);
  absl::Status Start(uint64_t id, int64_t prompt_tokens, const v1::SamplingParams& sampling);
  absl::Status ShareSampled(const v1::Step& step);
  absl::Status AddEntry(const v1::BatchEntry& entry, Batch& batch) const;
  absl::Status RunBatch(Batch batch, v1::StepDone& done);
  void ChooseTokens(Batch& batch) const;
  void Sample(const Batch& batch, v1::StepDone& done);
  absl::Status AddProbe(const Sequence& sequence, Chunk& chunk) const;
  void ReadProbes(const Batch& batch, v1::StepDone& done);
  void ReadDistributions(const Chunk& chunk, size_t row, v1::ProbeResult& result);
  void ReadAttention(const Chunk& chunk, v1::ProbeResult& result);
  void ReadSpectra(const Chunk& chunk, v1::ProbeResult& result);

  const uint64_t number_;
  const EpochResources resources_;
  Share share_;
  std::unique_ptr<Plan> plan_;
  bool exact_prefill_ = false;  // the plan has local heads and prefills them exactly
  int max_batch_tokens_ = 0;
  int max_sequences_ = 0;
  int64_t max_context_ = 0;
  Storage storage_ = Storage::kFloat32;  // of keys and values
  std::unique_ptr<LaneTables> tables_;
  std::unique_ptr<Collective> collective_;
  SumProfile sums_;
  std::optional<v1::SharedProfile> shared_;
  std::unique_ptr<Forward> forward_;
  std::unordered_map<uint64_t, Sequence> sequences_;
  Forward::Sampled sampled_;  // leader
  LastSamples last_;          // of the step before
};

}  // namespace headlong
