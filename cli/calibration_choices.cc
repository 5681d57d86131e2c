#include "cli/calibration_choices.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/quantity.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr int kLengthOfWindow = 4;  // a text is at least so many times as long

absl::StatusOr<std::vector<CodeChoice>> ParseCodes(const std::string& names) {
  constexpr std::string_view kTurned = "+hadamard";
  std::vector<CodeChoice> choices;
  for (const absl::string_view each : absl::StrSplit(names, ',', absl::SkipEmpty())) {
    std::string_view name(each.data(), each.size());
    const bool turned = name.ends_with(kTurned);
    if (turned) name.remove_suffix(kTurned.size());
    const absl::StatusOr<LaneStorage> storage = LaneStorageFromName(name);
    if (!storage.ok()) return Annotate(storage.status(), "--storage");
    choices.push_back({*storage, turned ? Rotation::kHadamard : Rotation::kNone});
  }
  return choices;
}

absl::StatusOr<std::vector<LaneRank>> ParseRanks(const std::string& names, uint32_t head_dim) {
  std::vector<LaneRank> ranks;
  for (const absl::string_view name : absl::StrSplit(names, ',', absl::SkipEmpty())) {
    const absl::StatusOr<LaneRank> rank =
        LaneRankFromName(std::string_view(name.data(), name.size()));
    if (!rank.ok()) return Annotate(rank.status(), "--rank");
    if (static_cast<uint32_t>(std::max(rank->keys, rank->values)) > head_dim) {
      return absl::InvalidArgumentError(
          absl::StrCat("--rank: ", name, " is more than head_dim ", head_dim));
    }
    ranks.push_back(*rank);
  }
  return ranks;
}

}  // namespace

void AddChoiceFlags(CLI::App* command, ChoiceFlags* flags) {
  command->add_option("--windows", flags->windows, "Windows to choose from, in tokens; '': none")
      ->capture_default_str();
  command->add_option("--storage", flags->storage,
                      "Types to choose from for keys and values: int8, int4, fp8, fp16, bf16, "
                      "fp32, or one for each as in int8/int4, with +hadamard after Hadamard's "
                      "rotation; comma-separated");
  command->add_option("--rank", flags->rank,
                      "How many numbers of keys and values to choose from, multiples of 16: 48, or "
                      "one for each as in 48/64; all: as many as the model has; comma-separated");
  command
      ->add_option("--compensation", flags->compensation,
                   "Of windows: mean, one token for what they dropped; none; mean,none to choose")
      ->capture_default_str();
}

absl::Status SetChoices(const ChoiceFlags& flags, int64_t length, uint32_t head_dim,
                        CalibrationOptions& options) {
  options.windows.clear();
  if (!flags.windows.empty()) {
    ASSIGN_OR_RETURN(options.windows, ParseIntegerList(flags.windows, 1, INT32_MAX));
    const int64_t widest = *std::max_element(options.windows.begin(), options.windows.end());
    if (widest * kLengthOfWindow > length) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--windows: ", widest, " tokens hold too much of texts of --length ", length,
          " to be told from everything; give --length ", widest * kLengthOfWindow, " or more"));
    }
  }
  ASSIGN_OR_RETURN(options.codes, ParseCodes(flags.storage));
  ASSIGN_OR_RETURN(options.ranks, ParseRanks(flags.rank, head_dim));
  if (options.windows.empty() && options.codes.empty() && options.ranks.empty()) {
    return absl::InvalidArgumentError("--windows, --storage, --rank: nothing to choose from");
  }
  options.compensations.clear();
  for (const absl::string_view name : absl::StrSplit(flags.compensation, ',')) {
    if (name != "mean" && name != "none") {
      return absl::InvalidArgumentError(
          absl::StrCat("--compensation: mean, none, or both with a comma, not \"", name, "\""));
    }
    options.compensations.push_back(name == "mean");
  }
  return absl::OkStatus();
}

}  // namespace headlong
