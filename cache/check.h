// Broken invariants of this folder end the process: a worker that went on would serve tokens
// computed from another sequence's keys, and recovery replays what a dead worker held. Never for
// input.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace headlong::cache_internal {

// `file` and `line` are the caller's (clang 14 has no std::source_location).
inline void Check(bool holds, const char* invariant, const char* file = __builtin_FILE(),
                  int line = __builtin_LINE()) {
  if (holds) [[likely]] {
    return;
  }
  std::fprintf(stderr, "%s:%d: broken invariant: %s\n", file, line, invariant);
  std::abort();
}

}  // namespace headlong::cache_internal
