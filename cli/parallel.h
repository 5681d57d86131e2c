// The same work on several threads, with a progress bar meanwhile.
#pragma once

#include <functional>
#include <string>

#include "cli/terminal.h"

namespace headlong {

// Runs `work` once on each of `threads` threads and returns when all are through. `progress` is
// asked on the calling thread.
void RunOnThreads(size_t threads, const std::function<void()>& work, const std::string& label,
                  const std::function<ProgressState()>& progress, Terminal& terminal);

}  // namespace headlong
