// PlacementSvg: rectangles and text only, so that any viewer shows it.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/placement_picture.h"
#include "cli/quantity.h"

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
    const double level = lightness - spread * std::clamp(std::min(at - 3, 9 - at), -1.0, 1.0);
    return static_cast<int>(std::lround(255 * level));
  };
  return absl::StrFormat("#%02x%02x%02x", channel(0), channel(8), channel(4));
}

std::string Escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '&') {
      out += "&amp;";
    } else {
      out += c;
    }
  }
  return out;
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
    return absl::StrCat(
        absl::StrFormat("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
                        "font-family=\"sans-serif\" font-size=\"11\">\n",
                        width, y_ + kRow),
        absl::StrFormat("<rect width=\"%d\" height=\"%d\" fill=\"white\"/>\n", width, y_ + kRow),
        body_, "</svg>\n");
  }

 private:
  int Rows() const { return std::min(view_.placement.workers_size(), kMostRows); }

  void Rect(double x, double y, double width, double height, const std::string& fill) {
    if (width <= 0 || height <= 0) return;
    absl::StrAppend(&body_, absl::StrFormat("<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" "
                                            "height=\"%.2f\" fill=\"%s\"/>\n",
                                            x, y, width, height, fill));
  }
  void Text(double x, double y, const std::string& text) {
    absl::StrAppend(
        &body_, absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\">%s</text>\n", x, y, Escaped(text)));
  }
  void Heading(const std::string& text) {
    y_ += 2 * kRow;
    Text(8, y_ - 6, text);
  }

  void Map() {
    for (int head = 0; head < view_.kv_heads; ++head) {
      Text(8, y_ + head * kCell + 11, absl::StrCat("head ", head));
    }
    for (int rank = 0; rank < view_.placement.workers_size(); ++rank) {
      for (const v1::HeadShare& head : view_.placement.workers(rank).heads()) {
        const double of = std::max<uint32_t>(head.stripe_count(), 1);
        const double part = (kCell - 1) / of;
        Rect(kLeft + static_cast<double>(head.layer()) * kCell,
             y_ + static_cast<double>(head.head()) * kCell + head.stripe_index() * part, kCell - 1,
             part, Colour(rank, head.retrieval()));
      }
    }
    y_ += view_.kv_heads * kCell;
    for (int layer = 0; layer < view_.layers; layer += 10) {
      Text(kLeft + layer * kCell, y_ + 12, absl::StrCat(layer));
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
      Text(8, y_ + 12, share.worker_id());
      Rect(kLeft, y_, wide(share.memory_bytes()), kRow - 4, "#e8e8e8");
      Rect(kLeft, y_, weights, kRow - 4, Colour(rank, true));
      Rect(kLeft + weights, y_, wide(share.cache_bytes()), kRow - 4, Colour(rank, false));
      Text(kLeft + wide(share.memory_bytes()) + 6, y_ + 12, FormatBytes(share.memory_bytes()));
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
      Text(8, y_ + kHeight - 4, view_.placement.workers(rank).worker_id());
      const auto bars = [&](const auto& values, double x, const std::string& fill) {
        for (int layer = 0; layer < values.size(); ++layer) {
          const double height = values.Get(layer) / slowest * kHeight;
          Rect(kLeft + layer * kCell + x, y_ + kHeight - height, kCell / 2.0 - 1, height, fill);
        }
      };
      bars(times.attention_ms(), 0, Colour(rank, true));
      bars(times.mlp_ms(), kCell / 2.0, Colour(rank, false));
      y_ += 2 * kRow;
    }
  }

  const PlacementView& view_;
  std::string body_;
  int y_ = 0;
};

}  // namespace

std::string PlacementSvg(const PlacementView& view) { return Drawing(view).Draw(); }

}  // namespace headlong
