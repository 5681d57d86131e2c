#include "worker/lane_transfer.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>
#include <utility>

#include "cache/coverage.h"
#include "cache/storage.h"
#include "common/status.h"
#include "worker/profile.h"
#include "worker/share.h"

namespace headlong {
namespace {

// Others pack, too: gigabytes at the speed of host memory.
constexpr std::chrono::milliseconds kConnectTimeout{60000};

// Where the lanes of this worker's classes are.
std::map<LaneId, CacheLane> PlacesOf(const std::vector<LaneClass>& classes) {
  std::map<LaneId, CacheLane> places;
  for (size_t c = 0; c < classes.size(); ++c) {
    for (size_t lane = 0; lane < classes[c].lanes.size(); ++lane) {
      places[classes[c].lanes[lane]] = {static_cast<int>(c), static_cast<int>(lane)};
    }
  }
  return places;
}

// What is held here is held a second time in the caches, where those are in the same memory.
absl::Status CheckMemory(int64_t bytes) {
  const int64_t available = AvailableMemory();
  if (available >= 2 * bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("twice ", bytes, " bytes of lanes do not fit ",
                                                   available, " bytes of host memory"));
}

// By rank in the transfer. Who has no part in the placement holds nothing.
absl::StatusOr<std::vector<std::vector<HeldLane>>> LanesByRank(const v1::Placement& placement,
                                                               const v1::LaneTransfer& transfer,
                                                               const ModelConfig& config) {
  std::vector<std::vector<HeldLane>> lanes(transfer.workers_size());
  for (const v1::WorkerShare& share : placement.workers()) {
    const auto worker =
        std::find(transfer.workers().begin(), transfer.workers().end(), share.worker_id());
    if (worker == transfer.workers().end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("transfer: worker ", share.worker_id(), " of a placement is not in it"));
    }
    ASSIGN_OR_RETURN(lanes[worker - transfer.workers().begin()], ReadLanes(share, config));
  }
  return lanes;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LaneTransfer>> LaneTransfer::Create(const v1::Configure& configure,
                                                                   int rank,
                                                                   const ModelConfig& config,
                                                                   const std::string& fingerprint) {
  if (rank < 0 || rank >= configure.transfer().workers_size()) {
    return absl::InvalidArgumentError(absl::StrCat("transfer: no worker of rank ", rank));
  }
  const PlanShape shape = PlanShapeOf(config, fingerprint);
  ASSIGN_OR_RETURN(Plan plan, Plan::FromJson(configure.plan_json(), shape, "configure: plan"));
  ASSIGN_OR_RETURN(const Storage storage, PlainStorageFromName(configure.kv_cache_dtype()));
  std::unique_ptr<LaneTransfer> transfer(
      new LaneTransfer(configure.transfer(), rank, std::move(plan)));
  transfer->element_ = {config.head_dim, static_cast<int>(ElementBytes(storage))};
  RETURN_IF_ERROR(transfer->ReadMoves(configure.placement(), config));
  return transfer;
}

absl::Status LaneTransfer::ReadMoves(const v1::Placement& to, const ModelConfig& config) {
  ASSIGN_OR_RETURN(const auto before, LanesByRank(asked_.from(), asked_, config));
  ASSIGN_OR_RETURN(const auto after, LanesByRank(to, asked_, config));
  RETURN_IF_ERROR(CheckHeadsCovered(plan_, before));
  RETURN_IF_ERROR(CheckHeadsCovered(plan_, after));
  moves_ = LaneMoves(before, after);
  parcels_.ready = before[rank_].empty();  // else Pack says so
  std::erase_if(moves_,
                [this](const LaneMove& move) { return move.from != rank_ && move.to != rank_; });
  parcels_.out.resize(world());
  parcels_.in.resize(world());
  for (int peer = 0; peer < world(); ++peer) {
    parcels_.out[peer].size = SizeBetween(rank_, peer);
    parcels_.in[peer].size = SizeBetween(peer, rank_);
  }
  return absl::OkStatus();
}

int64_t LaneTransfer::SizeBetween(int from, int to) const {
  int64_t size = 0;
  for (const LaneMove& move : moves_) {
    if (move.from != from || move.to != to) continue;
    for (const v1::LiveSequence& sequence : asked_.sequences()) {
      size += BytesMoved(move, RuleOf(plan_, move.lane, sequence.prompt_tokens()),
                         static_cast<int64_t>(sequence.committed()), element_);
    }
  }
  return size;
}

int64_t LaneTransfer::bytes_sent() const {
  int64_t bytes = 0;
  for (int peer = 0; peer < world(); ++peer) bytes += peer == rank_ ? 0 : parcels_.out[peer].size;
  return bytes;
}

int64_t LaneTransfer::bytes_received() const {
  int64_t bytes = 0;
  for (int peer = 0; peer < world(); ++peer) bytes += peer == rank_ ? 0 : parcels_.in[peer].size;
  return bytes;
}

absl::Status LaneTransfer::TakeMemory(std::vector<Parcel>& parcels) const {
  for (int peer = 0; peer < world(); ++peer) {
    Parcel& parcel = parcels[peer];
    if (&parcels == &parcels_.in && peer == rank_) continue;  // it is what was packed
    parcel.bytes = TakeHugeArray<std::byte>(parcel.size);
    if (parcel.bytes == nullptr) {
      return absl::ResourceExhaustedError(
          absl::StrCat("no host memory for ", parcel.size, " bytes of lanes"));
    }
  }
  return absl::OkStatus();
}

absl::Status LaneTransfer::Pack(const LaneTables& tables, Backend& backend,
                                std::atomic<uint64_t>& progress) {
  for (const v1::LiveSequence& sequence : asked_.sequences()) {
    const uint64_t id = sequence.sequence_id();
    const bool stands =
        tables.Has(id) && tables.tables(id).prompt_tokens == sequence.prompt_tokens() &&
        std::all_of(tables.tables(id).before.begin(), tables.tables(id).before.end(),
                    [&](const BlockTable& table) {
                      return table.committed() == static_cast<int64_t>(sequence.committed());
                    });
    if (!stands) {
      return absl::FailedPreconditionError(
          absl::StrCat("sequence ", id, " does not stand at ", sequence.committed()));
    }
  }
  int64_t bytes = 0;
  for (const Parcel& parcel : parcels_.out) bytes += parcel.size;
  RETURN_IF_ERROR(CheckMemory(bytes));
  RETURN_IF_ERROR(TakeMemory(parcels_.out));
  Copy(tables, backend, CopyWay::kToHost, &progress);
  backend.Wait();
  parcels_.ready = true;
  return absl::OkStatus();
}

absl::StatusOr<bool> LaneTransfer::Exchange(const std::string& host, Rendezvous& rendezvous,
                                            std::atomic<uint64_t>& progress) {
  if (parcels_.ready) {
    absl::Status room = CheckMemory(bytes_received());
    if (room.ok()) room = TakeMemory(parcels_.in);
    if (!room.ok()) spdlog::warn("no transfer: {}", room.ToString());
    parcels_.ready = room.ok();
  }
  GlooOptions options;
  options.rank = rank_;
  options.world = world();
  options.host = host;
  options.connect_timeout = kConnectTimeout;
  return ExchangeParcels(options, rendezvous, parcels_, [&progress] { progress.fetch_add(1); });
}

void LaneTransfer::Unpack(const LaneTables& tables, Backend& backend) const {
  Copy(tables, backend, CopyWay::kFromHost, nullptr);
  backend.Wait();  // the parcels are read until then
}

void LaneTransfer::Copy(const LaneTables& tables, Backend& backend, CopyWay way,
                        std::atomic<uint64_t>* progress) const {
  const bool packs = way == CopyWay::kToHost;
  const std::vector<Parcel>& parcels = packs ? parcels_.out : parcels_.in;
  const std::map<LaneId, CacheLane> places = PlacesOf(tables.classes());
  std::vector<int64_t> offsets(world(), 0);
  std::vector<int32_t> pages;
  for (const LaneMove& move : moves_) {
    if ((packs ? move.from : move.to) != rank_) continue;
    const int peer = packs ? move.to : move.from;
    LaneCopy copy;
    copy.place = places.at(move.lane);
    for (const v1::LiveSequence& sequence : asked_.sequences()) {
      const SequenceTables& stands = tables.tables(sequence.sequence_id());
      const LaneRule rule = RuleOf(plan_, move.lane, stands.prompt_tokens);
      pages.clear();
      for (const int64_t page :
           PagesMoved(move, rule, static_cast<int64_t>(sequence.committed()))) {
        pages.push_back(stands.before[copy.place.lane_class].PageOf(page * rule.page_tokens()));
      }
      std::byte* at = parcels[peer].bytes.get() + offsets[peer];
      copy.pages = pages;
      copy.host_pages = at;
      copy.slot = stands.slot;
      at += std::ssize(pages) * PageBytesOf(rule, element_);
      const int64_t slot_bytes = SlotBytesOf(move, rule, element_);
      const int64_t sink_bytes =
          rule.format(element_.head_dim, element_.element_bytes).sink_bytes();
      copy.host_sums = rule.compensates() ? reinterpret_cast<float*>(at) : nullptr;
      at += slot_bytes;
      copy.host_sinks = slot_bytes > 0 && sink_bytes > 0 ? at - sink_bytes : nullptr;
      offsets[peer] = at - parcels[peer].bytes.get();
      backend.CopyLane(copy, way);
    }
    if (progress != nullptr) progress->fetch_add(1);
  }
}

}  // namespace headlong
