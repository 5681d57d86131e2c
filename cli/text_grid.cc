#include "cli/text_grid.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "cli/terminal.h"

namespace headlong {
namespace {

constexpr std::array<const char*, kLevels> kBlocks{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
constexpr std::array<const char*, kLevels> kAsciiLevels{".", ":", "-", "=", "+", "*", "%", "#"};
constexpr int kMinLabelWidth = 8;

int Columns(const std::string& text) {
  return static_cast<int>(std::count_if(text.begin(), text.end(),
                                        [](unsigned char byte) { return (byte & 0xC0) != 0x80; }));
}

std::string Spaces(int count) { return std::string(static_cast<size_t>(std::max(0, count)), ' '); }

std::string PadLeft(const std::string& text, int width) {
  return Spaces(width - Columns(text)) + text;
}

std::string PadRight(const std::string& text, int width) {
  return text + Spaces(width - Columns(text));
}

}  // namespace

std::string LevelMark(int level, bool utf8) { return utf8 ? kBlocks[level] : kAsciiLevels[level]; }

std::string DrawTextGrid(const TextGrid& grid, const MapStyle& style) {
  int label_width = std::max(kMinLabelWidth, Columns(grid.corner));
  for (const std::string& row : grid.rows) label_width = std::max(label_width, Columns(row));
  int cell_width = 1;
  for (const std::string& column : grid.columns) {
    cell_width = std::max(cell_width, Columns(column));
  }
  for (const GridCell& cell : grid.cells) cell_width = std::max(cell_width, Columns(cell.text));
  const int columns = static_cast<int>(grid.columns.size());
  const int per_panel = std::max(1, (style.width - label_width - 1) / (cell_width + 1));
  std::string text;
  for (int first = 0; first < columns; first += per_panel) {
    const int last = std::min(columns, first + per_panel);
    if (first > 0) text += "\n";
    text += PadRight(grid.corner, label_width);
    for (int column = first; column < last; ++column) {
      absl::StrAppend(&text, " ", PadLeft(grid.columns[column], cell_width));
    }
    text += "\n";
    for (size_t row = 0; row < grid.rows.size(); ++row) {
      text += PadRight(grid.rows[row], label_width);
      for (int column = first; column < last; ++column) {
        const GridCell& cell = grid.cells[column * grid.rows.size() + row];
        absl::StrAppend(&text, " ",
                        Styled(PadLeft(cell.text, cell_width), cell.style, style.colour));
      }
      text += "\n";
    }
  }
  return text;
}

}  // namespace headlong
