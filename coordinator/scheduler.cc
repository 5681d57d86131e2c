#include "coordinator/scheduler.h"

#include <algorithm>
#include <utility>

namespace headlong {

void Scheduler::BeginEpoch(PageBudget budget, const std::vector<uint64_t>& kept) {
  budget_ = std::move(budget);
  budget_->Clear();
  planned_ = {};
  ahead_ = {};
  ended_.clear();  // the workers hold nothing but what was kept
  running_.clear();
  waiting_.clear();
  for (const uint64_t id : kept) {
    const auto it = sequences_.find(id);
    if (it == sequences_.end()) {
      ended_.push_back(id);  // removed while the epoch began
      continue;
    }
    it->second.demand = budget_->Demand(it->second.computed, it->second.prompt_tokens);
    budget_->Take(it->second.demand);
    running_.push_back(id);
  }
  for (auto& [id, sequence] : sequences_) {  // ids grow with arrival
    if (std::find(running_.begin(), running_.end(), id) != running_.end()) continue;
    sequence.computed = 0;
    sequence.exact_layer = 0;
    sequence.exact_position = 0;
    sequence.demand.clear();
    waiting_.push_back(id);
  }
}

std::vector<v1::LiveSequence> Scheduler::Live() const {
  std::vector<v1::LiveSequence> live;
  for (const uint64_t id : running_) {
    const Sequence& sequence = sequences_.at(id);
    if (sequence.computed == 0 || NeedsExact(sequence)) continue;
    v1::LiveSequence& out = live.emplace_back();
    out.set_sequence_id(id);
    out.set_committed(static_cast<uint64_t>(sequence.computed));
    out.set_prompt_tokens(static_cast<uint32_t>(sequence.prompt_tokens));
    *out.mutable_sampling() = sequence.start.sampling();
  }
  return live;
}

void Scheduler::Add(uint64_t id, std::vector<TokenId> log, int64_t most_tokens,
                    v1::SequenceStart start) {
  Sequence sequence;
  sequence.log = std::move(log);
  sequence.most_tokens = most_tokens;
  sequence.prompt_tokens = start.prompt_tokens();
  sequence.start = std::move(start);
  sequence.start.set_sequence_id(id);
  sequences_.emplace(id, std::move(sequence));
  waiting_.push_back(id);
}

void Scheduler::Append(uint64_t id, TokenId token) { sequences_.at(id).log.push_back(token); }

void Scheduler::Suspect(uint64_t id) {
  const auto it = sequences_.find(id);
  if (it != sequences_.end()) it->second.suspect = true;
}

void Scheduler::Clear(uint64_t id) {
  const auto it = sequences_.find(id);
  if (it != sequences_.end()) it->second.suspect = false;
}

void Scheduler::Remove(uint64_t id) {
  const auto it = sequences_.find(id);
  if (it == sequences_.end()) return;
  if (std::erase(running_, id) > 0) {
    budget_->Return(it->second.demand);
    ended_.push_back(id);
  }
  std::erase(waiting_, id);
  sequences_.erase(it);
}

std::optional<v1::Step> Scheduler::Next() {
  rows_left_ = limits_.max_rows;
  PlanDecodes();
  PlanPrompts();
  Admit();
  if (planned_.order.empty() && ended_.empty()) return std::nullopt;
  v1::Step step = TakeEnded();
  for (uint64_t id : planned_.order) {
    const PlannedEntry& planned = planned_.entries.at(id);
    if (planned.starts) *step.add_started() = sequences_.at(id).start;
    FillEntry(id, planned, step);
  }
  return step;
}

v1::Step Scheduler::TakeEnded() {
  v1::Step step;
  for (uint64_t id : ended_) step.add_ended(id);
  ended_.clear();
  return step;
}

std::optional<v1::Step> Scheduler::NextAhead() {
  if (planned_.order.empty() || !ahead_.order.empty() || OneMayStart()) return std::nullopt;
  std::vector<uint64_t> order;
  for (uint64_t id : running_) {
    Sequence& sequence = sequences_.at(id);
    if (!GoesOnAhead(id, sequence)) return std::nullopt;
    const auto length = static_cast<int64_t>(sequence.log.size()) + 1;  // with what is sampled
    if (length >= sequence.most_tokens) continue;
    const std::vector<int64_t> demand = budget_->Demand(length, sequence.prompt_tokens);
    if (!MakeRoom(id, demand, /*may_preempt=*/false)) return std::nullopt;
    sequence.demand = demand;
    order.push_back(id);
  }
  if (order.empty() || std::ssize(order) > limits_.max_rows) return std::nullopt;
  v1::Step step = TakeEnded();
  for (uint64_t id : order) {
    PlannedEntry& planned = ahead_.entries[id];
    planned.position = static_cast<int64_t>(sequences_.at(id).log.size());
    planned.count = 1;
    v1::BatchEntry& entry = *step.add_entries();
    entry.set_sequence_id(id);
    entry.set_position(static_cast<uint32_t>(planned.position));
    entry.set_sampled_before(true);
    entry.set_sample(true);
  }
  ahead_.order = std::move(order);
  return step;
}

// The step in flight samples the sequence, by whose next token nothing else is decided.
bool Scheduler::GoesOnAhead(uint64_t id, const Sequence& sequence) const {
  const auto it = planned_.entries.find(id);
  if (it == planned_.entries.end() || it->second.unit || sequence.suspect) return false;
  return it->second.position + it->second.count == static_cast<int64_t>(sequence.log.size());
}

void Scheduler::Finished() {
  for (const auto& [id, planned] : planned_.entries) {
    const auto it = sequences_.find(id);
    if (it == sequences_.end()) continue;  // removed while the step ran
    Sequence& sequence = it->second;
    if (!planned.unit) {
      sequence.computed += planned.count;
      continue;
    }
    sequence.exact_position += planned.count;
    if (sequence.exact_position < sequence.prompt_tokens) continue;
    sequence.exact_position = 0;
    if (++sequence.exact_layer == limits_.layers) sequence.computed = sequence.prompt_tokens;
  }
  planned_ = std::exchange(ahead_, {});
}

SequencePhase Scheduler::phase(uint64_t id) const {
  if (std::find(running_.begin(), running_.end(), id) == running_.end()) {
    return SequencePhase::kWaiting;
  }
  return Pending(sequences_.at(id)) > 1 ? SequencePhase::kPrefill : SequencePhase::kDecode;
}

int64_t Scheduler::progress(uint64_t id) const {
  const Sequence& sequence = sequences_.at(id);
  const int64_t units = sequence.exact_layer * sequence.prompt_tokens + sequence.exact_position;
  return sequence.computed + units / std::max(limits_.layers, 1);
}

std::vector<uint64_t> Scheduler::Scheduled() const { return planned_.order; }

void Scheduler::PlanDecodes() {
  const std::vector<uint64_t> running = running_;  // preemption changes the member
  for (uint64_t id : running) {
    const auto it = sequences_.find(id);
    if (it == sequences_.end() || phase(id) != SequencePhase::kDecode) continue;
    if (NeedsExact(it->second)) continue;
    Plan(id, /*starts=*/false);
  }
}

void Scheduler::PlanPrompts() {
  const std::vector<uint64_t> running = running_;
  bool exact_taken = false;  // the workers hold one exact prefill at a time: the oldest
  for (uint64_t id : running) {
    if (phase(id) == SequencePhase::kWaiting) continue;  // preempted meanwhile
    const Sequence& sequence = sequences_.at(id);
    if (Pending(sequence) <= 0 || planned_.entries.contains(id)) continue;
    if (NeedsExact(sequence) && std::exchange(exact_taken, true)) continue;
    Plan(id, /*starts=*/false);
  }
}

void Scheduler::Admit() {
  while (!waiting_.empty() && running() < limits_.max_sequences && rows_left_ > 0) {
    const uint64_t id = waiting_.front();
    // Strictly in order of arrival: who cannot start keeps those behind waiting.
    if (Hindrance(sequences_.at(id)) || !Plan(id, /*starts=*/true)) return;
    waiting_.pop_front();
    running_.push_back(id);
  }
}

bool Scheduler::OneMayStart() const {
  return !waiting_.empty() && running() < limits_.max_sequences &&
         !Hindrance(sequences_.at(waiting_.front()));
}

std::optional<WaitCause> Scheduler::Hindrance(const Sequence& sequence) const {
  for (uint64_t id : running_) {
    const Sequence& other = sequences_.at(id);
    if (NeedsExact(sequence) && NeedsExact(other)) return WaitCause::kExact;
    if (sequence.suspect && other.suspect) return WaitCause::kSuspect;
  }
  const auto length = static_cast<int64_t>(sequence.log.size());
  const std::vector<int64_t> demand = budget_->Demand(length, sequence.prompt_tokens);
  if (budget_->Fits(demand, std::vector<int64_t>(demand.size(), 0))) return std::nullopt;
  return WaitCause::kPages;
}

std::optional<WaitCause> Scheduler::Waits(uint64_t id) const {
  if (planned_.entries.contains(id)) return std::nullopt;
  const Sequence& sequence = sequences_.at(id);
  if (!budget_) return WaitCause::kCluster;
  if (phase(id) != SequencePhase::kWaiting) {
    if (rows_left_ <= 0) return WaitCause::kRows;
    return NeedsExact(sequence) ? WaitCause::kExact : WaitCause::kPages;
  }
  if (waiting_.front() != id) return WaitCause::kOlder;
  if (running() >= limits_.max_sequences) return WaitCause::kSequences;
  if (rows_left_ <= 0) return WaitCause::kRows;
  return Hindrance(sequence).value_or(WaitCause::kNextStep);
}

// Gives the sequence as many of the rows left as it can use. False when it gets none.
bool Scheduler::Plan(uint64_t id, bool starts) {
  Sequence& sequence = sequences_.at(id);
  if (rows_left_ <= 0) return false;
  PlannedEntry planned;
  planned.starts = starts;
  planned.unit = NeedsExact(sequence);
  planned.position = planned.unit ? sequence.exact_position : sequence.computed;
  const int64_t end =
      planned.unit ? sequence.prompt_tokens : static_cast<int64_t>(sequence.log.size());
  planned.count = std::min(end - planned.position, rows_left_);
  // An exact prefill takes the pages of the whole prompt with its first unit.
  const int64_t length = planned.unit ? sequence.prompt_tokens : planned.position + planned.count;
  const std::vector<int64_t> demand = budget_->Demand(length, sequence.prompt_tokens);
  if (!MakeRoom(id, demand, /*may_preempt=*/!starts)) return false;
  sequence.demand = demand;
  planned_.entries[id] = planned;
  planned_.order.push_back(id);
  rows_left_ -= planned.count;
  return true;
}

// Takes `demand` in place of what the sequence holds, preempting younger sequences where allowed.
bool Scheduler::MakeRoom(uint64_t id, const std::vector<int64_t>& demand, bool may_preempt) {
  Sequence& sequence = sequences_.at(id);
  if (sequence.demand.empty()) sequence.demand.assign(demand.size(), 0);
  while (!budget_->Fits(demand, sequence.demand)) {
    if (!may_preempt) return false;
    if (running_.back() == id) return false;  // it waits for older ones to end
    Preempt(running_.back());
  }
  budget_->Return(sequence.demand);
  budget_->Take(demand);
  return true;
}

void Scheduler::Preempt(uint64_t id) {
  ++preemptions_;
  Sequence& sequence = sequences_.at(id);
  DropPlan(id);
  budget_->Return(sequence.demand);
  sequence.demand.clear();
  sequence.computed = 0;
  sequence.exact_layer = 0;
  sequence.exact_position = 0;
  std::erase(running_, id);
  ended_.push_back(id);
  waiting_.push_front(id);
}

void Scheduler::DropPlan(uint64_t id) {
  const auto it = planned_.entries.find(id);
  if (it == planned_.entries.end()) return;
  rows_left_ += it->second.count;
  planned_.entries.erase(it);
  std::erase(planned_.order, id);
}

void Scheduler::FillEntry(uint64_t id, const PlannedEntry& planned, v1::Step& step) const {
  const Sequence& sequence = sequences_.at(id);
  v1::BatchEntry& entry = *step.add_entries();
  entry.set_sequence_id(id);
  entry.set_position(static_cast<uint32_t>(planned.position));
  const int64_t end = planned.position + planned.count;
  entry.mutable_tokens()->Add(sequence.log.begin() + planned.position, sequence.log.begin() + end);
  bool last = end == static_cast<int64_t>(sequence.log.size());
  if (planned.unit) {
    entry.set_layer_begin(sequence.exact_layer);
    entry.set_layer_end(sequence.exact_layer + 1);
    last = last && sequence.exact_layer + 1 == limits_.layers;
  }
  entry.set_sample(last);
}

}  // namespace headlong
