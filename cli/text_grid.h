// A table of small cells for the terminal: columns with labels above, rows with labels at the left,
// in as many panels as the width asks for. Pure; readable without colour, and without block
// characters where the locale has none.
#pragma once

#include <string>
#include <vector>

namespace headlong {

struct MapStyle {
  bool colour = false;
  bool utf8 = true;
  int width = 80;
};

struct GridCell {
  std::string text;
  std::string style;  // ANSI, used in colour only
};

struct TextGrid {
  std::string corner;  // above the row labels
  std::vector<std::string> columns;
  std::vector<std::string> rows;
  std::vector<GridCell> cells;  // [column * rows.size() + row]
};

std::string DrawTextGrid(const TextGrid& grid, const MapStyle& style);

// Bars, or marks of rising weight.
inline constexpr int kLevels = 8;
std::string LevelMark(int level, bool utf8);  // level in [0, kLevels)

}  // namespace headlong
