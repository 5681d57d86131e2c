// The same picture again and again until Ctrl-C: in place on a terminal, where q ends it, too; one
// after the other elsewhere. stdout.
#pragma once

#include <functional>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "cli/exit_code.h"
#include "cli/terminal.h"

namespace headlong {

struct WatchFlags {
  double interval_s = 2;
  int count = 0;  // of pictures; 0: until Ctrl-C
};
void AddWatchFlags(CLI::App* command, WatchFlags* flags);

struct WatchedFrame {
  std::string text;
  bool document = false;  // JSON, one a line: never drawn in place
};

// The first frame must succeed; what goes wrong later (a server that starts anew) is shown and
// asked again. kInterrupted after Ctrl-C, kOk after q or `count` frames. The terminal is left as it
// was.
ExitCode WatchFrames(const WatchFlags& flags, const Terminal& terminal,
                     const std::function<absl::StatusOr<WatchedFrame>()>& next);

}  // namespace headlong
