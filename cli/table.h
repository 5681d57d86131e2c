// Plain tables for stdout: columns two spaces apart, numbers to the right. Pure.
#pragma once

#include <string>
#include <vector>

namespace headlong {

class Table {
 public:
  // A column whose name begins with '>' is aligned to the right.
  explicit Table(std::vector<std::string> columns);
  // REQUIRES: one cell per column.
  void Row(std::vector<std::string> cells);
  // Header line and rows, each ending with a newline, without spaces at line ends.
  std::string Text() const;

 private:
  std::vector<bool> right_;
  std::vector<std::vector<std::string>> rows_;  // the first is the header
};

}  // namespace headlong
