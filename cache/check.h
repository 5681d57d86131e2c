// Broken invariants of this folder end the process: a worker that went on would serve tokens
// computed from another sequence's keys, and recovery replays what a dead worker held. Never for
// input.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <source_location>

namespace headlong::cache_internal {

inline void Check(bool holds, const char* invariant,
                  std::source_location where = std::source_location::current()) {
  if (holds) [[likely]] {
    return;
  }
  std::fprintf(stderr, "%s:%u: broken invariant: %s\n", where.file_name(),
               static_cast<unsigned>(where.line()), invariant);
  std::abort();
}

}  // namespace headlong::cache_internal
