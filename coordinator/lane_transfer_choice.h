// Whether running sequences take their lanes along into a new placement, or are computed again from
// their tokens. Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/placement.h"
#include "headlong/v1/placement.pb.h"
#include "headlong/v1/worker.pb.h"

namespace headlong {

enum class MoveMode { kAuto, kReplay, kLive };  // auto: what takes less time
// "auto" | "replay" | "live".
absl::StatusOr<MoveMode> MoveModeFromName(const std::string& name);

// One placement takes the place of another one; all workers of both are alive.
struct PlacementChange {
  const PlacementProblem* problem = nullptr;  // that `to` solves
  const v1::Placement* from = nullptr;
  const v1::Placement* to = nullptr;
  MoveMode mode = MoveMode::kAuto;
};

struct TransferChoice {
  // Without sequences where all are computed again. `from_epoch` is the caller's to set.
  v1::LaneTransfer transfer;
  int64_t bytes = 0;  // between workers, of those that fit the new placement
  double send_s = 0;  // modelled, of the same
  double replay_s = 0;
};

// `running`: oldest first. Of those, as many go as fit the new placement's pages together; the rest
// waits behind them.
TransferChoice ChooseTransfer(const PlacementChange& change,
                              const std::vector<v1::LiveSequence>& running);

}  // namespace headlong
