// Threads for steps of few rows, whose pieces of work take microseconds. Whoever is awake takes the
// next piece, and the caller goes on as soon as all pieces are done: unlike at a barrier of OpenMP,
// a thread that the system has put aside for something else is waited for only while it holds a
// piece. Steps of many rows stay with OpenMP, as oneDNN does.
#pragma once

#include <cstdint>

#include "absl/functional/function_ref.h"

namespace headlong::cpu {

inline constexpr int kTeamRows = 32;  // of a step: up to here its work is cut up for the team

// How many of `count` outputs a piece should have where each takes `products` multiplications:
// whole blocks, a few pieces for each thread, and none so small that handing it over costs more.
int TeamShare(int count, int block, int64_t products);

// Calls piece(i) once for every i in [0, pieces), on up to omp_get_max_threads() threads of the
// caller's, which is one of them; returns when all are done. `piece` must not throw, and neither
// calls this nor opens a parallel region. Where another thread's call is under way, or inside a
// parallel region, the caller does everything itself.
void RunPieces(int pieces, absl::FunctionRef<void(int)> piece);

}  // namespace headlong::cpu
