// Takes lanes of running sequences from the caches of one epoch to those of the next, between the
// workers of both, through host memory. One object for each transfer; owner: the step thread.
//
//   Pack (out of the old caches) -> Exchange -> the old epoch ends, the new one begins -> Unpack
//
// Every worker computes the same list of moves from the two placements, so that parcels need no
// headings: a parcel holds, move by move and sequence by sequence, pages and then sums.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cache/lane_moves.h"
#include "headlong/v1/worker.pb.h"
#include "model/config.h"
#include "worker/backend.h"
#include "worker/parcels.h"

namespace headlong {

class LaneTransfer {
 public:
  // The transfer that `configure` asks for; `rank`: in it. INVALID_ARGUMENT names what is wrong.
  static absl::StatusOr<std::unique_ptr<LaneTransfer>> Create(const v1::Configure& configure,
                                                              int rank, const ModelConfig& config,
                                                              const std::string& fingerprint);

  // Copies what this worker holds of the sequences to host memory. Without it, or where it fails
  // (FAILED_PRECONDITION: they do not stand here as the transfer says; RESOURCE_EXHAUSTED: host
  // memory), Exchange tells the others that there will be no transfer, unless this worker held no
  // lanes before.
  absl::Status Pack(const LaneTables& tables, Backend& backend, std::atomic<uint64_t>& progress);

  // As ExchangeParcels: false where some worker has not packed what it holds.
  absl::StatusOr<bool> Exchange(const std::string& host, Rendezvous& rendezvous,
                                std::atomic<uint64_t>& progress);

  // Writes what came into caches in which the sequences stand where they stood. REQUIRES: Exchange
  // was true.
  void Unpack(const LaneTables& tables, Backend& backend) const;

  const v1::LaneTransfer& asked() const { return asked_; }
  int64_t bytes_sent() const;      // to other workers
  int64_t bytes_received() const;  // from them

 private:
  LaneTransfer(const v1::LaneTransfer& asked, int rank, Plan plan)
      : asked_(asked), rank_(rank), plan_(std::move(plan)) {}

  absl::Status ReadMoves(const v1::Placement& to, const ModelConfig& config);
  absl::Status TakeMemory(std::vector<Parcel>& parcels) const;
  void Copy(const LaneTables& tables, Backend& backend, CopyWay way,
            std::atomic<uint64_t>* progress) const;
  int64_t SizeBetween(int from, int to) const;
  int world() const { return asked_.workers_size(); }

  const v1::LaneTransfer asked_;
  const int rank_;
  const Plan plan_;
  ElementShape element_;
  std::vector<LaneMove> moves_;  // those from or to this worker
  Parcels parcels_;
};

}  // namespace headlong
