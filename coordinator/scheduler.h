// Which tokens of which sequences the next step computes: continuous batching with prompts in
// chunks. Pure: no clock, no I/O, no lock; one owner (the engine thread).
//
// Order: the one token of every sequence that decodes, then chunks of prompts, then admissions,
// each oldest first. A sequence is admitted when its whole log fits. Where pages run short later,
// the youngest running sequence is preempted for an older one: its state on the workers is dropped
// and it is computed again from its token log. The youngest itself waits.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "coordinator/page_budget.h"
#include "coordinator/step_plan.h"
#include "coordinator/wait_cause.h"
#include "headlong/v1/worker.pb.h"
#include "model/tokenizer.h"

namespace headlong {

struct SchedulerLimits {
  int max_rows = 512;      // of one step
  int max_sequences = 16;  // running at once
  int layers = 0;
  bool exact_prefill = false;  // prompts are computed layer by layer
};

enum class SequencePhase { kWaiting, kPrefill, kDecode };

class Scheduler {
 public:
  explicit Scheduler(const SchedulerLimits& limits) : limits_(limits) {}

  // A new epoch: all sequences wait again, in the order they came, computed from their logs; but
  // for those `kept`, of Live, whose lanes came along. REQUIRES: these fit the budget.
  void BeginEpoch(PageBudget budget, const std::vector<uint64_t>& kept = {});
  // What can go on from its lanes, between two steps: runs, in no exact prefill. Oldest first.
  std::vector<v1::LiveSequence> Live() const;

  // `log`: prompt and what was generated already; it has `most_tokens` at its end.
  // `start` says the rest of what the workers are told (prompt_tokens: N of an exact prefill); its
  // id is set here.
  void Add(uint64_t id, std::vector<TokenId> log, int64_t most_tokens, v1::SequenceStart start);
  // A sampled token joins the log. REQUIRES: added.
  void Append(uint64_t id, TokenId token);
  // The sequence was in a step that crashed, and gave no token since. Suspects run one at a time,
  // so that the next crash tells which one it is.
  void Suspect(uint64_t id);
  void Clear(uint64_t id);
  // The sequence is over or cancelled; its pages are free with the next step.
  void Remove(uint64_t id);

  // The next step (epoch and number are the caller's to set), or nullopt when there is nothing to
  // do. REQUIRES: an epoch has begun and the last step was finished.
  std::optional<v1::Step> Next();
  // The step behind that one, to be sent before its tokens are known: one token more of each
  // sequence that runs. Nullopt where the tokens could change what is best next: while prompts are
  // computed, one may start, pages run short, or a suspect runs. REQUIRES: one step is in flight.
  std::optional<v1::Step> NextAhead();
  // The oldest step in flight was computed.
  void Finished();

  SequencePhase phase(uint64_t id) const;
  int64_t computed(uint64_t id) const { return sequences_.at(id).computed; }
  // Tokens computed; layers done of an exact prefill count in proportion.
  int64_t progress(uint64_t id) const;
  int running() const { return static_cast<int>(running_.size()); }
  int waiting() const { return static_cast<int>(waiting_.size()); }
  // Null before the first epoch.
  const PageBudget* budget() const { return budget_ ? &*budget_ : nullptr; }
  uint64_t preemptions() const { return preemptions_; }  // of all epochs
  // Ids in the oldest step in flight, removed ones too; one ahead of its time has no others.
  std::vector<uint64_t> Scheduled() const;
  std::optional<WaitCause> Waits(uint64_t id) const;  // why it is not in it, if it is not

 private:
  struct Sequence {
    std::vector<TokenId> log;
    int64_t most_tokens = 0;
    int64_t prompt_tokens = 0;
    v1::SequenceStart start;
    bool suspect = false;
    int64_t computed = 0;  // positions whose keys the caches hold
    int exact_layer = 0;   // of an exact prefill in progress
    int64_t exact_position = 0;
    std::vector<int64_t> demand;  // pages taken
  };
  int64_t Pending(const Sequence& s) const { return std::ssize(s.log) - s.computed; }
  bool NeedsExact(const Sequence& s) const {
    return limits_.exact_prefill && s.computed < s.prompt_tokens;
  }
  void PlanDecodes();
  void PlanPrompts();
  void Admit();
  std::optional<WaitCause> Hindrance(const Sequence& sequence) const;  // to be admitted
  bool OneMayStart() const;
  bool GoesOnAhead(uint64_t id, const Sequence& sequence) const;
  v1::Step TakeEnded();
  bool Plan(uint64_t id, bool starts);
  bool MakeRoom(uint64_t id, const std::vector<int64_t>& demand, bool may_preempt);
  void Preempt(uint64_t id);
  void DropPlan(uint64_t id);
  void FillEntry(uint64_t id, const PlannedEntry& planned, v1::Step& step) const;

  const SchedulerLimits limits_;
  std::optional<PageBudget> budget_;
  std::map<uint64_t, Sequence> sequences_;
  std::deque<uint64_t> waiting_;
  std::vector<uint64_t> running_;  // oldest admission first
  std::vector<uint64_t> ended_;    // the workers still hold these
  StepPlan planned_;               // the oldest step in flight
  StepPlan ahead_;                 // the one behind it
  int64_t rows_left_ = 0;
  uint64_t preemptions_ = 0;
};

}  // namespace headlong
