// A grid of values as colours: layer x head, length x depth. For the terminal and as SVG. Pure.
#pragma once

#include <string>
#include <vector>

#include "cli/text_grid.h"

namespace headlong {

enum class HeatColours {
  kScore,   // dark violet, green, yellow
  kRecall,  // red, yellow, green
};

struct HeatCell {
  double value = 0;     // in [0, 1], which picks the colour; NaN: not measured
  std::string label;    // short
  std::string tooltip;  // SVG only
};

struct HeatMap {
  std::string title;
  std::string column_name;  // "layer"
  std::string row_name;     // "head"
  std::vector<std::string> columns;
  std::vector<std::string> rows;
  std::vector<HeatCell> cells;  // [column * rows.size() + row]
  HeatColours colours = HeatColours::kScore;
  std::string low = "0";  // what the ends of the colours stand for
  std::string high = "1";
  bool labels_in_svg = false;  // wide cells with their labels, else small squares
};

// Labels in a grid, coloured by value where the style allows.
std::string DrawHeatMap(const HeatMap& map, const MapStyle& style);

// With the colours' scale at the right.
std::string HeatMapSvg(const HeatMap& map);

}  // namespace headlong
