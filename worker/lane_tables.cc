#include "worker/lane_tables.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "common/status.h"

namespace headlong {

LaneTables::LaneTables(const Plan& plan, std::vector<LaneClass> classes,
                       const std::vector<int32_t>& pages, int max_sequences)
    : plan_(&plan), classes_(std::move(classes)) {
  if (pages.size() != classes_.size()) std::abort();  // checked where the placement is read
  for (int32_t count : pages) pools_.emplace_back(count);
  for (int slot = max_sequences - 1; slot >= 0; --slot) free_slots_.push_back(slot);
}

absl::StatusOr<int> LaneTables::Start(uint64_t sequence_id, int64_t prompt_tokens) {
  if (sequences_.contains(sequence_id)) {
    return absl::AlreadyExistsError(absl::StrCat("sequence ", sequence_id, " runs already"));
  }
  if (free_slots_.empty()) return absl::ResourceExhaustedError("all sequence slots are taken");
  SequenceTables tables;
  tables.slot = free_slots_.back();
  tables.prompt_tokens = prompt_tokens;
  for (const LaneClass& lane_class : classes_) {
    tables.before.emplace_back(lane_class.rule(*plan_, prompt_tokens));
  }
  tables.after = tables.before;
  free_slots_.pop_back();
  const int slot = tables.slot;
  sequences_.emplace(sequence_id, std::move(tables));
  return slot;
}

absl::Status LaneTables::End(uint64_t sequence_id) {
  const auto it = sequences_.find(sequence_id);
  if (it == sequences_.end()) {
    return absl::NotFoundError(absl::StrCat("sequence ", sequence_id, " does not run"));
  }
  for (size_t i = 0; i < pools_.size(); ++i) it->second.after[i].Release(pools_[i]);
  free_slots_.push_back(it->second.slot);
  sequences_.erase(it);
  return absl::OkStatus();
}

const SequenceTables& LaneTables::tables(uint64_t sequence_id) const {
  const auto it = sequences_.find(sequence_id);
  if (it == sequences_.end()) std::abort();
  return it->second;
}

absl::Status LaneTables::Advance(const Chunk& chunk, int layer_begin) {
  const auto it = sequences_.find(chunk.sequence_id);
  if (it == sequences_.end()) {
    return absl::FailedPreconditionError(
        absl::StrCat("sequence ", chunk.sequence_id, " was not started"));
  }
  SequenceTables& tables = it->second;
  const bool opens = !chunk.exact || (layer_begin == 0 && chunk.position == 0);
  if (!opens) return absl::OkStatus();
  const int64_t new_tokens = chunk.exact ? tables.prompt_tokens : chunk.count;
  for (size_t i = 0; i < pools_.size(); ++i) {
    if (tables.before[i].committed() != chunk.position) {
      return absl::FailedPreconditionError(absl::StrCat("sequence ", chunk.sequence_id,
                                                        " stands at ", tables.before[i].committed(),
                                                        ", the step begins at ", chunk.position));
    }
    ASSIGN_OR_RETURN(tables.after[i], tables.before[i].Advance(new_tokens, pools_[i]));
  }
  return absl::OkStatus();
}

void LaneTables::Commit(uint64_t sequence_id) {
  SequenceTables& tables = sequences_.at(sequence_id);
  tables.before = tables.after;
}

PageUse LaneTables::Pages(bool retrieval, int head_dim, int element_bytes) const {
  PageUse use;
  for (size_t i = 0; i < pools_.size(); ++i) {
    if (plan_->policies()[classes_[i].policy].full() != retrieval) continue;
    const int64_t bytes = PageBytes(*plan_, classes_[i], head_dim, element_bytes);
    use.used += pools_[i].used();
    use.total += pools_[i].total();
    use.used_bytes += pools_[i].used() * bytes;
    use.total_bytes += pools_[i].total() * bytes;
  }
  return use;
}

int64_t LaneTables::UsedBytes(int head_dim, int element_bytes) const {
  int64_t bytes = 0;
  for (size_t i = 0; i < pools_.size(); ++i) {
    bytes += pools_[i].used() * PageBytes(*plan_, classes_[i], head_dim, element_bytes);
    bytes += static_cast<int64_t>(sequences_.size()) *
             SlotBytes(*plan_, classes_[i], head_dim, element_bytes);
  }
  return bytes;
}

bool LaneTables::Balanced() const {
  for (size_t i = 0; i < pools_.size(); ++i) {
    int64_t held = 0;
    for (const auto& [id, tables] : sequences_) held += tables.after[i].pages_held();
    if (held != pools_[i].used() || pools_[i].free() + held != pools_[i].total()) return false;
  }
  return true;
}

}  // namespace headlong
