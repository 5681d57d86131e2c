// What `calibrate` may choose for heads, as its flags say it.
#pragma once

#include <cstdint>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "cli/calibration_run.h"

namespace headlong {

// Comma-separated lists; an empty one: none of its kind.
struct ChoiceFlags {
  std::string windows = "64,256";
  std::string storage;
  std::string rank;
  std::string compensation = "mean";
};

// --windows, --storage, --rank, --compensation. `flags` outlive the command.
void AddChoiceFlags(CLI::App* command, ChoiceFlags* flags);

// Sets windows, codes, ranks and compensations of the options. INVALID_ARGUMENT names the flag:
// what it does not know, a rank over head_dim, a window too wide to be told from everything in
// texts of `length` tokens, nothing to choose from at all.
absl::Status SetChoices(const ChoiceFlags& flags, int64_t length, uint32_t head_dim,
                        CalibrationOptions& options);

}  // namespace headlong
