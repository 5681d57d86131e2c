// Where the log of this process goes: lines on the terminal's stderr, above any progress bar.
#pragma once

#include <string>

#include "cli/terminal.h"

namespace headlong {

// `level`: "debug" | "info" | "warn" | "error" | "off". `terminal` must outlive all logging.
void SetUpLogging(Terminal& terminal, const std::string& level);

}  // namespace headlong
