#include "cli/cost_curve_svg.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/quantity.h"
#include "cli/svg.h"

namespace headlong {
namespace {

using Anchor = SvgTextStyle::Anchor;

constexpr double kLeft = 70;
constexpr double kTop = 36;
constexpr double kWidth = 620;
constexpr double kHeight = 320;
constexpr double kSeen = 0.5;
constexpr char kLineColour[] = "#3b82c4";
constexpr std::array<const char*, 6> kPointColours{"#d9480f", "#2b8a3e", "#9c36b5",
                                                   "#c2a50a", "#0b7285", "#c2255c"};

class Plot {
 public:
  explicit Plot(const CostPlot& plot) : plot_(plot) {
    double least = 1, lowest = std::numeric_limits<double>::infinity(), highest = 0;
    const auto see = [&](int64_t bytes, double kl) {
      least = std::min(least, Share(bytes));
      if (kl <= 0) return;
      lowest = std::min(lowest, kl);
      highest = std::max(highest, kl);
    };
    for (const CurvePoint& point : plot.curve) see(point.bytes, point.kl);
    for (const CostPoint& point : plot.points) see(point.bytes, point.kl);
    least_share_ = std::max(least * 0.85, 1e-4);
    if (highest <= 0) lowest = highest = 1;
    // Of a curve that ends in costs too small to matter, five decades are enough.
    high_ = std::ceil(std::log10(highest) + 0.05);
    low_ = std::max(std::floor(std::log10(lowest) - 0.05), high_ - 5);
    low_ = std::min(low_, high_ - 1);
  }

  std::string Draw() {
    canvas_.Text({8, 18}, plot_.title, {.size = 13, .bold = true});
    Axes();
    std::vector<SvgPoint> line;  // points of which something can be seen
    for (const CurvePoint& point : plot_.curve) {
      const SvgPoint at{X(point.bytes), Y(point.kl)};
      const bool same = !line.empty() && std::abs(at.x - line.back().x) < kSeen &&
                        std::abs(at.y - line.back().y) < kSeen;
      if (!same || &point == &plot_.curve.back()) line.push_back(at);
    }
    if (line.size() > 1) canvas_.Polyline(line, kLineColour);
    Points();
    return canvas_.Document(kLeft + kWidth + 30, kTop + kHeight + 66);
  }

 private:
  double Share(int64_t bytes) const {
    return static_cast<double>(bytes) / static_cast<double>(std::max<int64_t>(plot_.full_bytes, 1));
  }
  double XOfShare(double share) const {
    return kLeft + kWidth * std::log(std::max(share, least_share_) / least_share_) /
                       std::log(1 / least_share_);
  }
  double X(int64_t bytes) const { return XOfShare(Share(bytes)); }
  double Y(double kl) const {
    const double at = kl > 0 ? std::clamp(std::log10(kl), low_, high_) : low_;
    return kTop + kHeight * (high_ - at) / (high_ - low_);
  }

  void Axes() {
    for (double decade = low_; decade <= high_ + 0.5; decade += 1) {
      const double y = Y(std::pow(10.0, decade));
      canvas_.Line({kLeft, y}, {kLeft + kWidth, y});
      canvas_.Text({kLeft - 6, y + 4}, absl::StrFormat("%.0e", std::pow(10.0, decade)),
                   {.anchor = Anchor::kEnd});
    }
    for (const double share : {0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0}) {
      if (share < least_share_) continue;
      const double x = XOfShare(share);
      canvas_.Line({x, kTop}, {x, kTop + kHeight});
      canvas_.Text({x, kTop + kHeight + 14}, absl::StrFormat("%.0f %%", 100 * share),
                   {.anchor = Anchor::kMiddle});
    }
    canvas_.Text({kLeft + kWidth / 2, kTop + kHeight + 32},
                 absl::StrCat("share of the full cache (", FormatBytes(plot_.full_bytes), ")"),
                 {.anchor = Anchor::kMiddle});
    canvas_.Text({16, kTop + kHeight / 2}, "mean KL, nats per token",
                 {.anchor = Anchor::kMiddle, .upwards = true});
    if (plot_.curve.size() < 2) return;
    canvas_.Rect({kLeft, kTop + kHeight + 46}, 22, 3, kLineColour);
    canvas_.Text({kLeft + 28, kTop + kHeight + 51},
                 "cheapest plan of each size by the sum of single heads' costs; points: measured");
  }

  // Names stand at the right of their points, or at the left where there is no room; one that
  // would lie on an earlier one moves down.
  void Points() {
    std::vector<SvgPoint> taken;
    for (size_t i = 0; i < plot_.points.size(); ++i) {
      const CostPoint& point = plot_.points[i];
      const char* colour = kPointColours[i % kPointColours.size()];
      const SvgPoint at{X(point.bytes), Y(point.kl)};
      canvas_.Circle(at, 5, colour,
                     absl::StrFormat("%s: %.3f of the full cache, KL %.3g", point.name,
                                     Share(point.bytes), point.kl));
      SvgPoint label{at.x, at.y + (at.y > kTop + kHeight - 8 ? -6 : 4)};
      while (std::any_of(taken.begin(), taken.end(), [&](const SvgPoint& other) {
        return std::abs(other.y - label.y) < 13 && std::abs(other.x - label.x) < 160;
      })) {
        label.y += 13;
      }
      taken.push_back(label);
      const bool right = at.x < kLeft + kWidth - 140;
      canvas_.Text({label.x + (right ? 9 : -9), label.y}, point.name,
                   {.anchor = right ? Anchor::kStart : Anchor::kEnd,
                    .bold = true,
                    .fill = colour,
                    .halo = true});
    }
  }

  const CostPlot& plot_;
  SvgCanvas canvas_;
  double least_share_ = 0;
  double low_ = 0;
  double high_ = 0;
};

}  // namespace

std::string CostCurveSvg(const CostPlot& plot) { return Plot(plot).Draw(); }

}  // namespace headlong
