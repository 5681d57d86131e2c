// How the program ends: the exit codes that scripts depend on, and errors on stderr.
#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace headlong {

enum class ExitCode : int {
  kOk = 0,
  kFailed = 1,  // also: the server refused the request
  kUsage = 2,   // the command line itself is wrong
  kNotFound = 3,
  kDenied = 4,
  kUnreachable = 5,    // no answer, or not in time
  kConflict = 6,       // the world is not as the command assumed
  kInterrupted = 130,  // Ctrl-C
};

// Of an error that a server answered or that the program met. Not for usage errors. A call that was
// cancelled by Ctrl-C is kInterrupted.
ExitCode ExitCodeOf(const absl::Status& status);

// Prints "headlong: <message>" on stderr.
ExitCode Fail(const absl::Status& status);
ExitCode Fail(const absl::Status& status, ExitCode code);

// A mistake in the command line that the flags' own checks cannot see.
ExitCode FailUsage(std::string_view message);

// "invalid_argument", "unavailable", ...: the "code" of error objects.
std::string_view CodeName(absl::StatusCode code);

}  // namespace headlong
