#include "coordinator/cluster.h"

#include <algorithm>

#include "common/status.h"

namespace headlong {

const Member* Cluster::find(LinkId link) const {
  for (const auto& [id, member] : workers_) {
    if (member.link == link) return &member;
  }
  return nullptr;
}

Member* Cluster::find(LinkId link) {
  return const_cast<Member*>(static_cast<const Cluster*>(this)->find(link));
}

Member* Cluster::Alive(LinkId link) {
  Member* member = find(link);
  return member != nullptr && member->state != WorkerState::kGone ? member : nullptr;
}

bool Cluster::IsMember(LinkId link) const {
  return std::find(members_.begin(), members_.end(), link) != members_.end();
}

bool Cluster::Usable(const Member& member) const {
  return member.state != WorkerState::kGone && !member.leaving &&
         !drained(member.registration.worker_id());
}

std::vector<LinkId> Cluster::usable() const {
  std::vector<LinkId> links;
  for (const auto& [id, member] : workers_) {
    if (Usable(member)) links.push_back(member.link);
  }
  return links;
}

// All that are expected, but for those an operator took out or that are on their way out, are
// there.
bool Cluster::Complete(int usable) const {
  const auto leaving = std::count_if(workers_.begin(), workers_.end(), [this](const auto& worker) {
    return worker.second.leaving && worker.second.state != WorkerState::kGone &&
           !drained(worker.first);
  });
  return usable > 0 &&
         usable + static_cast<int>(drained_.size() + leaving) >= options_.expected_workers;
}

ClusterActions Cluster::Registered(LinkId link, const v1::Register& registration, TimePoint now) {
  ClusterActions actions;
  Member& member = workers_[registration.worker_id()];
  const LinkId replaced = member.link;
  const bool was_alive = replaced != 0 && member.state != WorkerState::kGone;
  member = Member();
  member.link = link;
  member.registration = registration;
  member.last_beat = now;
  member.last_progress = now;
  retry_at_.reset();
  if (was_alive) {
    // The same worker again over a new connection: the old one is stale.
    if (IsMember(replaced))
      actions = Break("worker " + registration.worker_id() + " came anew", now);
    actions.close.push_back(replaced);
  }
  if (phase_ == ClusterPhase::kServing || phase_ == ClusterPhase::kLoading) {
    if (!Usable(member) || Complete(static_cast<int>(members_.size()))) return actions;
    actions.join = phase_ == ClusterPhase::kServing;
    if (!actions.join) {
      actions.stop_work |= Break("worker " + registration.worker_id() + " joins", now).stop_work;
    }
    return actions;
  }
  const ClusterActions begin = MaybeBegin(now);
  actions.begin_epoch |= begin.begin_epoch;
  return actions;
}

ClusterActions Cluster::Closed(LinkId link, TimePoint now) {
  Member* member = Alive(link);
  if (member == nullptr) return {};
  member->state = WorkerState::kGone;
  if (!IsMember(link)) return {};
  return Break("worker " + member->registration.worker_id() + " is gone", now);
}

ClusterActions Cluster::Beat(LinkId link, const v1::Heartbeat& beat, TimePoint now) {
  Member* member = Alive(link);
  if (member == nullptr) return {};
  member->last_beat = now;
  if (beat.progress() != member->progress) {
    member->progress = beat.progress();
    member->last_progress = now;
  }
  return {};
}

void Cluster::Loaded(LinkId link, const v1::LoadProgress& progress, TimePoint now) {
  Member* member = Alive(link);
  if (member == nullptr || progress.epoch() != epoch_) return;
  member->last_progress = now;
  member->bytes_done = progress.bytes_done();
  member->bytes_total = progress.bytes_total();
}

ClusterActions Cluster::ConfigureDone(LinkId link, const v1::ConfigureDone& done, TimePoint now) {
  Member* member = Alive(link);
  if (member == nullptr || done.epoch() != epoch_ || phase_ != ClusterPhase::kLoading) return {};
  if (done.code() != 0) {
    ClusterActions actions =
        Break("worker " + member->registration.worker_id(), now, done.message());
    retry_at_ = now + options_.retry_interval;
    return actions;
  }
  member->state = WorkerState::kReady;
  member->epoch = epoch_;
  for (LinkId each : members_) {
    if (Alive(each) == nullptr || Alive(each)->state != WorkerState::kReady) return {};
  }
  phase_ = ClusterPhase::kServing;
  reason_.clear();
  reason_for_clients_.clear();
  ClusterActions actions;
  actions.began_serving = true;
  return actions;
}

ClusterActions Cluster::Fault(LinkId link, const v1::Fault& fault, TimePoint now) {
  const Member* member = Alive(link);
  if (member == nullptr || fault.epoch() != epoch_ || !IsMember(link)) return {};
  if (phase_ != ClusterPhase::kServing && phase_ != ClusterPhase::kLoading) return {};
  return Break("worker " + member->registration.worker_id(), now, fault.message());
}

ClusterActions Cluster::Tick(bool step_in_flight, TimePoint now) {
  ForgiveOwnStall(now);
  ClusterActions actions;
  std::string silent;
  for (auto& [id, member] : workers_) {
    if (member.state == WorkerState::kGone) continue;
    if (now - member.last_beat < options_.heartbeat_timeout) continue;
    member.state = WorkerState::kGone;
    actions.close.push_back(member.link);
    if (IsMember(member.link)) silent = id;
  }
  ClusterActions broken;
  if (!silent.empty()) {
    broken = Break(absl::StrCat("worker ", silent, " is silent"), now);
  } else if (IsStuck(step_in_flight, now)) {
    broken = Break(
        phase_ == ClusterPhase::kLoading ? "loading does not get on" : "a step does not get on",
        now);
  }
  const ClusterActions begin = MaybeBegin(now);
  actions.stop_work = broken.stop_work;
  actions.begin_epoch = begin.begin_epoch;
  return actions;
}

// Beats that came while this process itself was stopped or starved have not been read yet: that
// time is nobody's silence.
void Cluster::ForgiveOwnStall(TimePoint now) {
  constexpr Millis kStall{500};
  const Millis gap = last_tick_ ? std::chrono::duration_cast<Millis>(now - *last_tick_) : Millis(0);
  last_tick_ = now;
  if (gap < kStall) return;
  for (auto& [id, member] : workers_) {
    member.last_beat = std::min(now, member.last_beat + gap);
    member.last_progress = std::min(now, member.last_progress + gap);
  }
}

bool Cluster::IsStuck(bool step_in_flight, TimePoint now) const {
  const bool working =
      phase_ == ClusterPhase::kLoading || (phase_ == ClusterPhase::kServing && step_in_flight);
  if (!working) return false;
  return std::none_of(members_.begin(), members_.end(), [&](LinkId link) {
    const Member* member = find(link);
    return member != nullptr && member->state != WorkerState::kGone &&
           now - member->last_progress < options_.progress_timeout;
  });
}

void Cluster::StepSent(TimePoint now) {
  for (LinkId link : members_) {
    if (Member* member = Alive(link)) member->last_progress = now;
  }
}

void Cluster::PlacementRefused(const std::string& reason, TimePoint now) {
  --epoch_;  // no worker heard of it
  for (auto& [id, member] : workers_) {
    if (member.state == WorkerState::kLoading) member.state = WorkerState::kRegistered;
  }
  phase_ = ClusterPhase::kWaiting;
  reason_ = reason;
  reason_for_clients_ = "the workers that are there cannot hold the model";
  retry_at_ = now + options_.retry_interval;
}

absl::Status Cluster::CheckDrain(const std::string& id, bool drained) const {
  const auto worker = workers_.find(id);
  if (worker == workers_.end()) {
    return absl::NotFoundError(absl::StrCat("no worker is called ", id));
  }
  if (drained && Usable(worker->second) && usable().size() == 1) {
    return absl::FailedPreconditionError(
        absl::StrCat(id,
                     " is the last live worker that is not drained; let another one back in "
                     "before (headlong workers return)"));
  }
  return absl::OkStatus();
}

ClusterActions Cluster::SetDrained(const std::string& id, bool drained, TimePoint now) {
  if (drained == this->drained(id) || !CheckDrain(id, drained).ok()) return {};
  if (drained) {
    drained_.insert(id);
  } else {
    drained_.erase(id);
  }
  const Member& member = workers_.at(id);
  if (member.state == WorkerState::kGone) return {};
  if (drained && !IsMember(member.link)) return {};
  return Move(absl::StrCat("worker ", id, drained ? " is drained" : " returns"), now);
}

ClusterActions Cluster::Move(const std::string& why, TimePoint now) {
  const int recoveries = recoveries_;
  ClusterActions actions = Break(why, now);
  recoveries_ = recoveries;
  retry_at_.reset();
  return actions;
}

ClusterActions Cluster::SetLeaving(LinkId link, TimePoint now) {
  Member* member = Alive(link);
  if (member == nullptr || member->leaving) return {};
  member->leaving = true;
  if (!IsMember(link)) return {};
  return Move("worker " + member->registration.worker_id() + " leaves", now);
}

ClusterActions Cluster::Join(TimePoint now) {
  if (phase_ != ClusterPhase::kServing) return {};
  for (LinkId link : usable()) {
    if (IsMember(link)) continue;
    return Move("worker " + find(link)->registration.worker_id() + " joins", now);
  }
  return {};
}

// The epoch is over. Members that live wait for the next one.
ClusterActions Cluster::Break(const std::string& why, TimePoint now, const std::string& detail) {
  ClusterActions actions;
  reason_ = detail.empty() ? why : absl::StrCat(why, ": ", detail);
  reason_for_clients_ = detail.empty() ? why : why + " failed";
  if (phase_ == ClusterPhase::kServing || phase_ == ClusterPhase::kLoading) {
    actions.stop_work = true;
    recoveries_ += phase_ == ClusterPhase::kServing ? 1 : 0;
    phase_ = ClusterPhase::kRecovering;
    broken_at_ = now;
    for (auto& [id, member] : workers_) {
      if (member.state != WorkerState::kGone) member.state = WorkerState::kRegistered;
    }
  }
  return actions;
}

ClusterActions Cluster::MaybeBegin(TimePoint now) {
  ClusterActions actions;
  if (phase_ != ClusterPhase::kWaiting && phase_ != ClusterPhase::kRecovering) return actions;
  if (retry_at_ && now < *retry_at_) return actions;
  const int usable = static_cast<int>(this->usable().size());
  const bool enough = epoch_ > 0 && usable > 0 && now - broken_at_ >= options_.rejoin_grace;
  if (!Complete(usable) && !enough) return actions;
  retry_at_.reset();
  members_.clear();
  for (auto& [id, member] : workers_) {
    if (!Usable(member)) continue;
    member.state = WorkerState::kLoading;
    member.last_progress = now;
    member.bytes_done = 0;
    member.bytes_total = 0;
    member.cache_bytes_used = 0;
    members_.push_back(member.link);
  }
  ++epoch_;
  phase_ = ClusterPhase::kLoading;
  actions.begin_epoch = true;
  return actions;
}

}  // namespace headlong
