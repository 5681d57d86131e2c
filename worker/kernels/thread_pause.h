// Waiting in a loop for another thread.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace headlong::cpu {

// Leaves the core's units to its other hardware thread for a moment.
inline void Pause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

}  // namespace headlong::cpu
