// Who is there, who is in, and when a new epoch begins: the fault detector and the epochs as a pure
// state machine. Time is an argument; what is to be done comes back as values. One owner (the
// engine thread).
//
//   waiting ──enough workers──► loading ──all ready──► serving
//      ▲                          │  ▲                    │ a member dies, freezes, reports a fault
//      └──placement refused───────┘  └────recovering ◄────┘ or is drained, or a worker comes back
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "coordinator/member.h"

namespace headlong {

class Cluster {
 public:
  explicit Cluster(const ClusterOptions& options) : options_(options) {}

  ClusterActions Registered(LinkId link, const v1::Register& registration, TimePoint now);
  ClusterActions Closed(LinkId link, TimePoint now);
  ClusterActions Beat(LinkId link, const v1::Heartbeat& beat, TimePoint now);
  void Loaded(LinkId link, const v1::LoadProgress& progress, TimePoint now);
  ClusterActions ConfigureDone(LinkId link, const v1::ConfigureDone& done, TimePoint now);
  ClusterActions Fault(LinkId link, const v1::Fault& fault, TimePoint now);
  // Call often: silence and waiting end by time.
  ClusterActions Tick(bool step_in_flight, TimePoint now);
  // A step goes out: the workers' time to get on counts from here.
  void StepSent(TimePoint now);
  // An operator takes a worker out of the epochs to come (drained), or lets it back in. NOT_FOUND;
  // FAILED_PRECONDITION when no live worker would be left.
  absl::Status CheckDrain(const std::string& id, bool drained) const;
  // Nothing happens to one that is so already, or where CheckDrain says no.
  ClusterActions SetDrained(const std::string& id, bool drained, TimePoint now);
  // The worker was told to end: in no epoch to come. It counts as expected until it is gone.
  ClusterActions SetLeaving(LinkId link, TimePoint now);
  // A new epoch, if a usable worker is not in the one that serves.
  ClusterActions Join(TimePoint now);
  // The epoch ends because somebody wants another one; nothing failed. The next Tick begins it.
  ClusterActions Move(const std::string& why, TimePoint now);
  // The placement over members() was refused: try again when workers change, or after a while. The
  // epoch does not take place, its number is free. REQUIRES: right after begin_epoch.
  void PlacementRefused(const std::string& reason, TimePoint now);

  ClusterPhase phase() const { return phase_; }
  uint64_t epoch() const { return epoch_; }
  const std::string& reason() const { return reason_; }
  // The same without what workers said, which may name addresses and files.
  const std::string& reason_for_clients() const { return reason_for_clients_; }
  int recoveries() const { return recoveries_; }
  bool drained(const std::string& id) const { return drained_.contains(id); }
  // Links of the workers in the current epoch, by rank.
  const std::vector<LinkId>& members() const { return members_; }
  // Links of the workers that a new epoch would have.
  std::vector<LinkId> usable() const;
  const Member* find(LinkId link) const;
  Member* find(LinkId link);
  // Every worker that ever registered, by id; the last connection of each.
  const std::map<std::string, Member>& workers() const { return workers_; }

 private:
  Member* Alive(LinkId link);
  bool IsMember(LinkId link) const;
  bool Usable(const Member& member) const;  // alive, neither drained nor leaving
  bool Complete(int usable) const;
  void ForgiveOwnStall(TimePoint now);
  bool IsStuck(bool step_in_flight, TimePoint now) const;
  ClusterActions Break(const std::string& why, TimePoint now, const std::string& detail = "");
  ClusterActions MaybeBegin(TimePoint now);

  const ClusterOptions options_;
  ClusterPhase phase_ = ClusterPhase::kWaiting;
  uint64_t epoch_ = 0;
  std::string reason_, reason_for_clients_;
  int recoveries_ = 0;
  std::optional<TimePoint> last_tick_;
  TimePoint broken_at_;                // when recovering began
  std::optional<TimePoint> retry_at_;  // not before, after a refusal
  std::vector<LinkId> members_;
  std::map<std::string, Member> workers_;
  std::set<std::string> drained_;  // ids; a worker that comes anew stays drained
};

}  // namespace headlong
