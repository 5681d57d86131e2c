// PlacementSvg: rectangles and text only, so that any viewer shows it.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/placement_picture.h"
#include "cli/quantity.h"
#include "cli/svg.h"

namespace headlong {
namespace {

constexpr int kLeft = 110;
constexpr int kCell = 14;
constexpr int kRow = 18;
constexpr int kBar = 640;
constexpr int kMostRows = 48;  // workers with bars

// Colours far apart for ranks that are close: the golden angle around the circle. In hexadecimal,
// which every viewer reads.
std::string Colour(int rank, bool retrieval) {
  const double hue = std::fmod(210 + rank * 137.508, 360.0) / 30;
  const double saturation = retrieval ? 0.70 : 0.45, lightness = retrieval ? 0.45 : 0.82;
  const double spread = saturation * std::min(lightness, 1 - lightness);
  const auto channel = [&](double offset) {
    const double at = std::fmod(offset + hue, 12.0);
    return lightness - spread * std::clamp(std::min(at - 3, 9 - at), -1.0, 1.0);
  };
  return HexColour(channel(0), channel(8), channel(4));
}

class Drawing {
 public:
  explicit Drawing(const PlacementView& view) : view_(view) {}

  std::string Draw() {
    Heading("heads by worker: strong colours keep everything, pale ones are local");
    Map();
    Heading("memory by worker: weights and scratch, cache, free");
    Memory();
    if (view_.report.workers_size() >= Rows()) {
      Heading(
          absl::StrFormat("attention and MLP time by layer; full height is %.3f ms", Slowest()));
      Times();
    }
    if (view_.placement.workers_size() > kMostRows) {
      Heading(absl::StrCat("the first ", kMostRows, " of ", view_.placement.workers_size(),
                           " workers have bars"));
    }
    const int width = kLeft + std::max(kBar + 140, view_.layers * kCell + 20);
    return canvas_.Document(width, y_ + kRow);
  }

 private:
  int Rows() const { return std::min(view_.placement.workers_size(), kMostRows); }

  void Heading(const std::string& text) {
    y_ += 2 * kRow;
    canvas_.Text({8, y_ - 6.0}, text);
  }

  void Map() {
    for (int head = 0; head < view_.kv_heads; ++head) {
      canvas_.Text({8, y_ + head * kCell + 11.0}, absl::StrCat("head ", head));
    }
    for (int rank = 0; rank < view_.placement.workers_size(); ++rank) {
      for (const v1::HeadShare& head : view_.placement.workers(rank).heads()) {
        const double of = std::max<uint32_t>(head.stripe_count(), 1);
        const double part = (kCell - 1) / of;
        canvas_.Rect({kLeft + static_cast<double>(head.layer()) * kCell,
                      y_ + static_cast<double>(head.head()) * kCell + head.stripe_index() * part},
                     kCell - 1, part, Colour(rank, head.retrieval()));
      }
    }
    y_ += view_.kv_heads * kCell;
    for (int layer = 0; layer < view_.layers; layer += 10) {
      canvas_.Text({kLeft + layer * kCell + 0.0, y_ + 12.0}, absl::StrCat(layer));
    }
    y_ += kRow;
  }

  void Memory() {
    double most = 1;
    for (const v1::WorkerShare& share : view_.placement.workers()) {
      most = std::max(most, static_cast<double>(share.memory_bytes()));
    }
    for (int rank = 0; rank < Rows(); ++rank) {
      const v1::WorkerShare& share = view_.placement.workers(rank);
      const auto wide = [&](uint64_t bytes) { return static_cast<double>(bytes) / most * kBar; };
      const double weights = wide(share.weights_bytes() + share.scratch_bytes());
      const auto y = static_cast<double>(y_);
      canvas_.Text({8, y + 12}, share.worker_id());
      canvas_.Rect({kLeft, y}, wide(share.memory_bytes()), kRow - 4, "#e8e8e8");
      canvas_.Rect({kLeft, y}, weights, kRow - 4, Colour(rank, true));
      canvas_.Rect({kLeft + weights, y}, wide(share.cache_bytes()), kRow - 4, Colour(rank, false));
      canvas_.Text({kLeft + wide(share.memory_bytes()) + 6, y + 12},
                   FormatBytes(share.memory_bytes()));
      y_ += kRow;
    }
  }

  double Slowest() const {
    double slowest = 1e-12;
    for (const v1::WorkerTimes& worker : view_.report.workers()) {
      for (double time : worker.attention_ms()) slowest = std::max(slowest, time);
      for (double time : worker.mlp_ms()) slowest = std::max(slowest, time);
    }
    return slowest;
  }

  void Times() {
    const double slowest = Slowest();
    constexpr double kHeight = 2 * kRow - 4;
    for (int rank = 0; rank < Rows(); ++rank) {
      const v1::WorkerTimes& times = view_.report.workers(rank);
      canvas_.Text({8, y_ + kHeight - 4}, view_.placement.workers(rank).worker_id());
      const auto bars = [&](const auto& values, double x, const std::string& fill) {
        for (int layer = 0; layer < values.size(); ++layer) {
          const double height = values.Get(layer) / slowest * kHeight;
          canvas_.Rect({kLeft + layer * kCell + x, y_ + kHeight - height}, kCell / 2.0 - 1, height,
                       fill);
        }
      };
      bars(times.attention_ms(), 0, Colour(rank, true));
      bars(times.mlp_ms(), kCell / 2.0, Colour(rank, false));
      y_ += 2 * kRow;
    }
  }

  const PlacementView& view_;
  SvgCanvas canvas_;
  int y_ = 0;
};

}  // namespace

std::string PlacementSvg(const PlacementView& view) { return Drawing(view).Draw(); }

}  // namespace headlong
