// Where the log of this process goes: stderr, as lines above any progress bar or as one JSON object
// a line. Lines carry the fields of their thread (common/log_fields).
#pragma once

#include <string>

#include "cli/terminal.h"

namespace headlong {

struct LogFlags {
  std::string level = "info";   // "debug" | "info" | "warn" | "error" | "off"
  std::string format = "text";  // "text" | "json"
  bool json() const { return format == "json"; }
};

// Who writes, in JSON: "coordinator" | "worker" | "serve", and a worker's id.
struct LogSource {
  std::string component = {};
  std::string worker = {};
};

// `terminal` must outlive all logging. What gRPC says goes to the log, too, at level debug:
// strangers can make it say a lot.
void SetUpLogging(Terminal& terminal, const LogFlags& flags, const LogSource& source);

// A line for whoever started this process: on its terminal, or in a JSON log.
void Announce(Terminal& terminal, const LogFlags& flags, const std::string& line);

}  // namespace headlong
