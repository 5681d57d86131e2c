// Files that hold secrets.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace headlong {

// Writes a file that its owner alone may read, whole or not at all. ALREADY_EXISTS unless
// `replace`; INVALID_ARGUMENT with the system's reason when it cannot be written.
absl::Status WritePrivateFile(const std::string& path, std::string_view text, bool replace);

}  // namespace headlong
