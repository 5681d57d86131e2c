// What holds of every input of a fuzz target. Stateless.
#pragma once

#include <cstdlib>

namespace headlong {

// Ends the process, which is what a fuzzer looks for, unless `ok`.
inline void Require(bool ok) {
  if (!ok) std::abort();
}

}  // namespace headlong
