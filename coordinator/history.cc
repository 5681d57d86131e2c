#include "coordinator/history.h"

#include <algorithm>
#include <tuple>

namespace headlong {
namespace {

constexpr size_t kMaxNameBytes = 64;  // of what a stranger may say of itself

using Lane = std::tuple<uint32_t, uint32_t, uint32_t, uint32_t>;

// Which worker holds which head, or part of one.
std::map<Lane, std::string> HoldersOf(const v1::Placement& placement) {
  std::map<Lane, std::string> holders;
  for (const v1::WorkerShare& share : placement.workers()) {
    for (const v1::HeadShare& head : share.heads()) {
      const uint32_t parts = std::max<uint32_t>(head.stripe_count(), 1);
      holders[{head.layer(), head.head(), head.stripe_index(), parts}] = share.worker_id();
    }
  }
  return holders;
}

}  // namespace

v1::Epoch& History::Next(uint64_t epoch, const std::string& reason, int64_t unix_ms) {
  if (epochs_.size() == kMaxEpochs) epochs_.pop_front();
  v1::Epoch& next = epochs_.emplace_back();
  next.set_epoch(epoch);
  next.set_reason(reason.empty() ? "all workers that are expected are here" : reason);
  next.set_began_unix_ms(unix_ms);
  return next;
}

void History::Began(const v1::Placement& placement, const std::string& reason, int64_t unix_ms,
                    TimePoint now) {
  v1::Epoch& epoch = Next(placement.epoch(), reason, unix_ms);
  began_ = now;
  const std::map<Lane, std::string> before = HoldersOf(last_);
  const std::map<Lane, std::string> after = HoldersOf(placement);
  epoch.set_heads(static_cast<uint32_t>(after.size()));
  epoch.set_heads_moved(
      static_cast<uint32_t>(std::count_if(after.begin(), after.end(), [&](const auto& lane) {
        const auto held = before.find(lane.first);
        return held == before.end() || held->second != lane.second;
      })));
  for (const v1::WorkerShare& share : placement.workers()) epoch.add_workers(share.worker_id());
  epoch.set_step_ms(placement.step_ms());
  epoch.set_gap(placement.gap());
  last_ = placement;
}

void History::CouldNotBegin(uint64_t epoch, const std::string& reason, const std::string& refusal,
                            int64_t unix_ms) {
  if (!epochs_.empty() && epochs_.back().epoch() == epoch && epochs_.back().refusal() == refusal) {
    return;
  }
  Next(epoch, reason, unix_ms).set_refusal(refusal);
}

void History::Serves(uint64_t sequences_moved, uint64_t sequences_replayed, TimePoint now) {
  if (epochs_.empty()) return;
  v1::Epoch& epoch = epochs_.back();
  epoch.set_seconds_to_serve(MillisBetween(began_, now) / 1e3);
  epoch.set_sequences_moved(sequences_moved);
  epoch.set_sequences_replayed(sequences_replayed);
}

void History::Ended(const std::string& reason) {
  if (!epochs_.empty()) epochs_.back().set_ended(reason);
}

void History::WorkerRefused(const v1::Register& registration, const std::string& reason,
                            TimePoint now) {
  const std::string id = registration.worker_id().substr(0, kMaxNameBytes);
  if (!refused_.contains(id) && refused_.size() >= kMaxRefused) {
    refused_.erase(
        std::min_element(refused_.begin(), refused_.end(),
                         [](const auto& a, const auto& b) { return a.second.at < b.second.at; }));
  }
  Refused& refused = refused_[id];
  refused.at = now;
  refused.worker.set_id(id);
  refused.worker.set_host(registration.host().substr(0, kMaxNameBytes));
  refused.worker.set_version(registration.version().substr(0, kMaxNameBytes));
  refused.worker.set_reason(reason);
  refused.worker.set_times(refused.worker.times() + 1);
}

void History::Describe(v1::ListEpochsResponse& out) const {
  for (const v1::Epoch& epoch : epochs_) *out.add_epochs() = epoch;
}

void History::Describe(TimePoint now, v1::ListWorkersResponse& out) const {
  for (const auto& [id, refused] : refused_) {
    *out.add_refused() = refused.worker;
    out.mutable_refused()->rbegin()->set_age_s(MillisBetween(refused.at, now) / 1e3);
  }
}

}  // namespace headlong
