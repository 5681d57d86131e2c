// Valid inputs of each fuzz target, made from the tiny models in tests/golden and from needle-10m.
// What a target's input holds beside one file is said at the target. Stateless.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace headlong {

// Names of the targets, e.g. "plan_fuzz".
std::vector<std::string> FuzzTargets();

// The seeds of one of them. Ends the process when a file that they are made from is missing.
std::vector<std::string> FuzzSeeds(std::string_view target);

}  // namespace headlong
