// What the scheduler has planned of one step. Plain values.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

namespace headlong {

// What a step does for one sequence.
struct PlannedEntry {
  int64_t position = 0;
  int64_t count = 0;
  bool unit = false;  // of an exact prefill
  bool starts = false;
};

struct StepPlan {
  std::map<uint64_t, PlannedEntry> entries;
  std::vector<uint64_t> order;  // of the entries
};

}  // namespace headlong
