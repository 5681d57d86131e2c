#include "cache/lane_storage.h"

#include "absl/strings/numbers.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr std::string_view kOwn = "own";
constexpr std::string_view kAll = "all";

absl::StatusOr<std::optional<Storage>> SideFromName(std::string_view name) {
  if (name == kOwn) return std::nullopt;
  ASSIGN_OR_RETURN(const Storage storage, CodedStorageFromName(name));
  return storage;
}

absl::StatusOr<int> RankFromName(std::string_view name) {
  if (name == kAll) return 0;
  int rank = 0;
  if (absl::SimpleAtoi(Av(name), &rank) && rank > 0 && rank % kRankStep == 0) return rank;
  return absl::InvalidArgumentError(absl::StrCat("rank: must be a multiple of ", kRankStep,
                                                 " or \"", Av(kAll), "\", is \"", Av(name), "\""));
}

std::string RankName(int rank) { return rank > 0 ? absl::StrCat(rank) : std::string(kAll); }

std::string_view SideName(std::optional<Storage> side) {
  return side.has_value() ? StorageName(*side) : kOwn;
}

}  // namespace

absl::StatusOr<LaneStorage> LaneStorageFromName(std::string_view name) {
  const size_t slash = name.find('/');
  LaneStorage storage;
  ASSIGN_OR_RETURN(storage.keys, SideFromName(name.substr(0, slash)));
  storage.values = storage.keys;
  if (slash == std::string_view::npos) return storage;
  ASSIGN_OR_RETURN(storage.values, SideFromName(name.substr(slash + 1)));
  return storage;
}

std::string LaneStorageName(const LaneStorage& storage) {
  std::string name(SideName(storage.keys));
  if (storage.keys == storage.values) return name;
  return name.append("/").append(SideName(storage.values));
}

absl::StatusOr<LaneRank> LaneRankFromName(std::string_view name) {
  const size_t slash = name.find('/');
  LaneRank rank;
  ASSIGN_OR_RETURN(rank.keys, RankFromName(name.substr(0, slash)));
  rank.values = rank.keys;
  if (slash == std::string_view::npos) return rank;
  ASSIGN_OR_RETURN(rank.values, RankFromName(name.substr(slash + 1)));
  return rank;
}

std::string LaneRankName(const LaneRank& rank) {
  if (rank.keys == rank.values) return RankName(rank.keys);
  return absl::StrCat(RankName(rank.keys), "/", RankName(rank.values));
}

}  // namespace headlong
