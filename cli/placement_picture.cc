#include "cli/placement_picture.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/quantity.h"
#include "cli/terminal.h"

namespace headlong {
namespace {

constexpr int kNameWidth = 12;

std::string Name(const std::string& id) {
  return absl::StrFormat("%-*s", kNameWidth, id.substr(0, kNameWidth - 1));
}

std::string Repeat(const char* text, int64_t times) {
  std::string all;
  for (int64_t i = 0; i < times; ++i) all += text;
  return all;
}

std::string MemoryBar(const v1::WorkerShare& share, uint64_t most, int width, bool utf8) {
  const auto cells = [&](uint64_t bytes) {
    return static_cast<int64_t>(static_cast<double>(bytes) / static_cast<double>(most) * width +
                                0.5);
  };
  const int64_t all = cells(share.memory_bytes());
  const int64_t weights = std::min(all, cells(share.weights_bytes() + share.scratch_bytes()));
  const int64_t used = std::clamp(
      cells(share.weights_bytes() + share.scratch_bytes() + share.cache_bytes()), weights, all);
  return absl::StrCat(Repeat(utf8 ? "█" : "#", weights), Repeat(utf8 ? "▒" : "=", used - weights),
                      Repeat(utf8 ? "·" : ".", all - used));
}

double Slowest(const v1::PlacementReport& report) {
  double slowest = 0;
  for (const v1::WorkerTimes& worker : report.workers()) {
    for (double time : worker.attention_ms()) slowest = std::max(slowest, time);
    for (double time : worker.mlp_ms()) slowest = std::max(slowest, time);
  }
  return slowest;
}

template <typename Times>
std::string Levels(const Times& times, double slowest, bool utf8) {
  std::string text;
  for (double time : times) {
    if (time <= 0 || slowest <= 0) {
      text += " ";
      continue;
    }
    const int level = std::clamp(static_cast<int>(time / slowest * kLevels - 1e-9), 0, kLevels - 1);
    text += LevelMark(level, utf8);
  }
  return text;
}

}  // namespace

std::string DrawPlacementBars(const PlacementView& view, const MapStyle& style) {
  const v1::Placement& placement = view.placement;
  uint64_t most = 1;
  for (const v1::WorkerShare& share : placement.workers()) {
    most = std::max<uint64_t>(most, share.memory_bytes());
  }
  const int width = std::max(10, style.width - kNameWidth - 14);
  std::string text =
      absl::StrCat("\nmemory: ", style.utf8 ? "█" : "#", " weights and scratch, ",
                   style.utf8 ? "▒" : "=", " cache, ", style.utf8 ? "·" : ".", " free\n");
  for (const v1::WorkerShare& share : placement.workers()) {
    absl::StrAppend(&text, Name(share.worker_id()), MemoryBar(share, most, width, style.utf8), " ",
                    FormatBytes(share.memory_bytes()), "\n");
  }
  const double slowest = Slowest(view.report);
  if (slowest <= 0) return text;
  absl::StrAppend(&text, absl::StrFormat("\ntime by layer, the highest is %.3f ms\n", slowest));
  for (int i = 0; i < std::min(placement.workers_size(), view.report.workers_size()); ++i) {
    const v1::WorkerTimes& times = view.report.workers(i);
    absl::StrAppend(&text, Name(placement.workers(i).worker_id()), "attention  ",
                    Levels(times.attention_ms(), slowest, style.utf8), "\n", Name(""),
                    "MLP        ", Levels(times.mlp_ms(), slowest, style.utf8), "\n");
  }
  return text;
}

}  // namespace headlong
