// SIGINT and SIGTERM as a flag. The handler only counts; whoever waits looks at the flag. Process
// wide, as signals are; readable from any thread.
#pragma once

#include <atomic>
#include <chrono>

namespace headlong {

inline constexpr std::chrono::milliseconds kInterruptPoll{50};  // how soon waiters look again

// Counts SIGINT and SIGTERM from now on instead of dying of them.
void InstallInterruptHandlers();

bool Interrupted();
int InterruptCount();
// The first signal that came: SIGINT, SIGTERM, or 0.
int InterruptSignal();

// Becomes true at the first signal; for code that takes a stop flag.
const std::atomic<bool>& InterruptFlag();

// As if `signal` had come. For tests; ResetInterrupts makes them independent.
void NoteInterrupt(int signal);
void ResetInterrupts();

// Sleeps, but not beyond the next signal. False when one came.
bool SleepUnlessInterrupted(std::chrono::milliseconds duration);

}  // namespace headlong
