// A tile of few rows over a long lane, as decode has them, is cut along its keys: all threads then
// share in a lane however few heads there are. Each part has its own log-sum-exp, by which the
// parts are merged, as stripes are between workers. Where a tile is cut depends on its runs alone,
// never on the number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "worker/kernels/attention_cpu.h"

namespace headlong {

inline constexpr int kMostCutRows = 8;        // a tile of more rows is not cut
inline constexpr int64_t kPartTokens = 2048;  // least keys of a part but the last

// End of the part that begins with run `begin`: an index into `runs`, at most their number.
size_t PartEnd(std::span<const KeyRun> runs, size_t begin);

// What the parts of a batch's tiles compute. Memory is kept from step to step.
class PartialResults {
 public:
  // Room for `parts` parts of up to kMostCutRows rows.
  void Resize(int parts, int head_dim);
  // `tile` writes part `part` instead of its own rows.
  void Redirect(int part, cpu::AttentionTile& tile);
  // Merges the parts [first, first + count) into the rows and, where asked for, the log-sum-exps of
  // `tile`. A row that no part has seen a key of becomes zeros and -inf.
  void Merge(int first, int count, const cpu::AttentionTile& tile) const;

 private:
  int head_dim_ = 0;
  std::vector<float> out_;  // [part][kMostCutRows][head_dim]
  std::vector<float> lse_;  // [part][kMostCutRows]
};

}  // namespace headlong
