// The block tables of all sequences in all lane classes of this worker, and the page pools they
// draw from. Host memory, pure. One owner (the step thread); the backend reads it during a step.
//
// Invariant while no step is open: used pages of every pool == pages held by its tables.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cache/block_pool.h"
#include "cache/block_table.h"
#include "cache/lane_class.h"
#include "cache/plan.h"
#include "worker/batch.h"

namespace headlong {

// A sequence's tables, one per lane class.
struct SequenceTables {
  int slot = 0;  // of the fp32 sums, [0, max_sequences)
  int64_t prompt_tokens = 0;
  std::vector<BlockTable> before;  // what this step reads
  std::vector<BlockTable> after;   // what this step writes; equal to `before` between steps
};

// Pages of the lanes of one role.
struct PageUse {
  int64_t used = 0;
  int64_t total = 0;
  int64_t used_bytes = 0;
  int64_t total_bytes = 0;
};

class LaneTables {
 public:
  LaneTables(const Plan& plan, std::vector<LaneClass> classes, const std::vector<int32_t>& pages,
             int max_sequences);

  const std::vector<LaneClass>& classes() const { return classes_; }

  // ALREADY_EXISTS, or RESOURCE_EXHAUSTED when max_sequences are running.
  absl::StatusOr<int> Start(uint64_t sequence_id, int64_t prompt_tokens);  // the slot
  absl::Status End(uint64_t sequence_id);

  // REQUIRES: started.
  const SequenceTables& tables(uint64_t sequence_id) const;
  bool Has(uint64_t sequence_id) const { return sequences_.contains(sequence_id); }

  // Opens a step for one chunk: tables(...).after is what holds once it is computed. The first unit
  // of an exact prefill opens the whole prompt, since its layers come one after the other.
  // FAILED_PRECONDITION when the chunk does not continue where the sequence stands.
  absl::Status Advance(const Chunk& chunk, int layer_begin);
  // All layers of the chunk are done: what `after` holds is what the next step reads. For a unit of
  // an exact prefill this closes the whole prompt.
  void Commit(uint64_t sequence_id);

  // Of retrieval heads, or of local ones.
  PageUse Pages(bool retrieval, int head_dim, int element_bytes) const;
  int64_t UsedBytes(int head_dim, int element_bytes) const;
  // free + used == total, and nothing used when no sequence runs.
  bool Balanced() const;

 private:
  const Plan* plan_;
  std::vector<LaneClass> classes_;
  std::vector<BlockPool> pools_;
  std::vector<int> free_slots_;
  std::unordered_map<uint64_t, SequenceTables> sequences_;
};

}  // namespace headlong
