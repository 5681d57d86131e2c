// What a doctor found and asked, as one archive to send to somebody who helps: no secrets, no
// prompts, no answers. Names of files and hosts are in it.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "cli/doctor.h"

namespace headlong {

// INVALID_ARGUMENT names the file when it cannot be written. The file is its owner's alone.
absl::Status WriteBundle(const std::string& path, const Findings& findings,
                         const ServerAnswers& answers);

}  // namespace headlong
