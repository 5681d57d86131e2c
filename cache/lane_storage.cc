#include "cache/lane_storage.h"

#include "absl/strings/numbers.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr std::string_view kOwn = "own";
constexpr std::string_view kAll = "all";

absl::StatusOr<std::optional<Storage>> SideFromName(std::string_view name) {
  if (name == kOwn) return std::nullopt;
  ASSIGN_OR_RETURN(const Storage storage, StorageFromName(name));
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

// "KEYS/VALUES", or one word for both; `read` makes a side of a word.
template <typename Sides, typename Read>
absl::StatusOr<Sides> SidesFromName(std::string_view name, const Read& read) {
  const size_t slash = name.find('/');
  Sides sides;
  ASSIGN_OR_RETURN(sides.keys, read(name.substr(0, slash)));
  sides.values = sides.keys;
  if (slash == std::string_view::npos) return sides;
  ASSIGN_OR_RETURN(sides.values, read(name.substr(slash + 1)));
  return sides;
}

template <typename Sides, typename Write>
std::string SidesName(const Sides& sides, const Write& write) {
  std::string name(write(sides.keys));
  if (sides.keys == sides.values) return name;
  return name.append("/").append(write(sides.values));
}

}  // namespace

absl::StatusOr<LaneStorage> LaneStorageFromName(std::string_view name) {
  return SidesFromName<LaneStorage>(name, SideFromName);
}

std::string LaneStorageName(const LaneStorage& storage) { return SidesName(storage, SideName); }

absl::StatusOr<LaneRank> LaneRankFromName(std::string_view name) {
  return SidesFromName<LaneRank>(name, RankFromName);
}

std::string LaneRankName(const LaneRank& rank) { return SidesName(rank, RankName); }

}  // namespace headlong
