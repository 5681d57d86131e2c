#include "cli/heat_map.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "cli/svg.h"

namespace headlong {
namespace {

using Anchor = SvgTextStyle::Anchor;
using Colour = std::array<double, 3>;

constexpr char kNotMeasured[] = "#8a8f98";
constexpr double kTop = 30;  // below the title
constexpr double kSquares = 720;
constexpr double kScaleWidth = 12;

// Five stops of viridis (matplotlib) and of the red-yellow-green scale of needle pictures.
constexpr std::array<Colour, 5> kScoreStops{{{0.267, 0.005, 0.329},
                                             {0.230, 0.322, 0.546},
                                             {0.128, 0.567, 0.551},
                                             {0.369, 0.789, 0.383},
                                             {0.993, 0.906, 0.144}}};
constexpr std::array<Colour, 5> kRecallStops{{{0.784, 0.153, 0.157},
                                              {0.941, 0.463, 0.263},
                                              {0.992, 0.855, 0.475},
                                              {0.659, 0.824, 0.420},
                                              {0.169, 0.620, 0.325}}};

Colour ColourAt(HeatColours colours, double value) {
  const auto& stops = colours == HeatColours::kScore ? kScoreStops : kRecallStops;
  const double at = std::clamp(value, 0.0, 1.0) * (stops.size() - 1);
  const size_t below = std::min(static_cast<size_t>(at), stops.size() - 2);
  const double part = at - static_cast<double>(below);
  Colour colour;
  for (size_t i = 0; i < colour.size(); ++i) {
    colour[i] = stops[below][i] * (1 - part) + stops[below + 1][i] * part;
  }
  return colour;
}

std::string Fill(HeatColours colours, double value) {
  if (std::isnan(value)) return kNotMeasured;
  const Colour colour = ColourAt(colours, value);
  return HexColour(colour[0], colour[1], colour[2]);
}

// What can be read on that colour (its luma by Rec. 709).
std::string InkOn(HeatColours colours, double value) {
  if (std::isnan(value)) return "#ffffff";
  const Colour colour = ColourAt(colours, value);
  const double luma = 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2];
  return luma > 0.5 ? "#14171d" : "#ffffff";
}

std::string AnsiStyle(HeatColours colours, double value) {
  if (std::isnan(value)) return "2";
  if (colours == HeatColours::kRecall) return value >= 0.95 ? "32" : value >= 0.5 ? "33" : "31";
  return value >= 0.75 ? "1;33" : value >= 0.5 ? "33" : value >= 0.25 ? "36" : "2";
}

class Picture {
 public:
  explicit Picture(const HeatMap& map) : map_(map) {
    const double columns = std::max<double>(1, static_cast<double>(map.columns.size()));
    cell_width_ = map.labels_in_svg ? 58 : std::clamp(kSquares / columns, 8.0, 30.0);
    cell_height_ = map.labels_in_svg ? 26 : cell_width_;
    size_t longest = 0;
    for (const std::string& row : map.rows) longest = std::max(longest, row.size());
    left_ = 34 + 6.5 * static_cast<double>(longest);
  }

  std::string Draw() {
    canvas_.Text({8, 18}, map_.title, {.size = 13, .bold = true});
    Cells();
    Labels();
    Scale();
    const double title = 16 + 7.6 * static_cast<double>(map_.title.size());
    return canvas_.Document(std::max(title, Right() + 90), std::max(Bottom() + 40, kTop + 110));
  }

 private:
  double Right() const { return left_ + cell_width_ * static_cast<double>(map_.columns.size()); }
  double Bottom() const { return kTop + cell_height_ * static_cast<double>(map_.rows.size()); }
  double X(size_t column) const { return left_ + cell_width_ * static_cast<double>(column); }
  double Y(size_t row) const { return kTop + cell_height_ * static_cast<double>(row); }

  void Cells() {
    for (size_t column = 0; column < map_.columns.size(); ++column) {
      for (size_t row = 0; row < map_.rows.size(); ++row) {
        const HeatCell& cell = map_.cells[column * map_.rows.size() + row];
        canvas_.Rect({X(column), Y(row)}, cell_width_ - 1, cell_height_ - 1,
                     Fill(map_.colours, cell.value), cell.tooltip);
        if (!map_.labels_in_svg) continue;
        canvas_.Text({X(column) + cell_width_ / 2, Y(row) + cell_height_ / 2 + 4}, cell.label,
                     {.anchor = Anchor::kMiddle, .fill = InkOn(map_.colours, cell.value)});
      }
    }
  }

  void Labels() {
    for (size_t row = 0; row < map_.rows.size(); ++row) {
      canvas_.Text({left_ - 6, Y(row) + cell_height_ / 2 + 4}, map_.rows[row],
                   {.anchor = Anchor::kEnd});
    }
    // Where squares are small only some labels have room.
    double widest = 0;
    for (const std::string& column : map_.columns) {
      widest = std::max(widest, 7.0 * static_cast<double>(column.size()) + 4);
    }
    const auto step = static_cast<size_t>(std::max(1.0, std::ceil(widest / cell_width_)));
    for (size_t column = 0; column < map_.columns.size(); column += step) {
      canvas_.Text({X(column) + cell_width_ / 2, Bottom() + 13}, map_.columns[column],
                   {.anchor = Anchor::kMiddle});
    }
    canvas_.Text({(left_ + Right()) / 2, Bottom() + 30}, map_.column_name,
                 {.anchor = Anchor::kMiddle});
    canvas_.Text({16, (kTop + Bottom()) / 2}, map_.row_name,
                 {.anchor = Anchor::kMiddle, .upwards = true});
  }

  void Scale() {
    constexpr int kSteps = 25;
    const double height = std::clamp(Bottom() - kTop, 80.0, 200.0);
    const double x = Right() + 16;
    for (int step = 0; step < kSteps; ++step) {
      canvas_.Rect({x, kTop + height * step / kSteps}, kScaleWidth, height / kSteps + 0.5,
                   Fill(map_.colours, 1 - (step + 0.5) / kSteps));
    }
    canvas_.Text({x + kScaleWidth + 5, kTop + 9}, map_.high);
    canvas_.Text({x + kScaleWidth + 5, kTop + height}, map_.low);
  }

  const HeatMap& map_;
  SvgCanvas canvas_;
  double cell_width_ = 0;
  double cell_height_ = 0;
  double left_ = 0;
};

}  // namespace

std::string DrawHeatMap(const HeatMap& map, const MapStyle& style) {
  TextGrid grid{map.column_name, map.columns, {}, {}};
  for (const std::string& row : map.rows) {
    grid.rows.push_back(absl::StrCat(map.row_name, " ", row));
  }
  for (const HeatCell& cell : map.cells) {
    grid.cells.push_back({cell.label, AnsiStyle(map.colours, cell.value)});
  }
  return absl::StrCat(map.title, "\n", DrawTextGrid(grid, style));
}

std::string HeatMapSvg(const HeatMap& map) { return Picture(map).Draw(); }

}  // namespace headlong
