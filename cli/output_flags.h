// How a command prints, and whether it only tries.
#pragma once

#include <string>
#include <vector>

#include "CLI/CLI.hpp"

namespace headlong {

struct OutputFlag {
  std::string format = "text";
  bool json() const { return format == "json"; }
};
void AddOutputFlag(CLI::App* command, OutputFlag* flag);

// What operators ask is a table, which may be wide, JSON, or names alone, one a line.
struct FormatFlag {
  std::string format = "table";
  bool json() const { return format == "json"; }
  bool wide() const { return format == "wide"; }
  bool name() const { return format == "name"; }
};
// `more`: formats of this command alone.
void AddFormatFlag(CLI::App* command, FormatFlag* flag, const std::vector<std::string>& more = {});
// Of a command that changes something.
void AddDryRunFlag(CLI::App* command, bool* dry_run);

}  // namespace headlong
