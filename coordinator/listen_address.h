// host:port of a server to be. Pure.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace headlong {

// True for 127.0.0.0/8, ::1 and localhost.
bool IsLoopback(std::string_view address);

// INVALID_ARGUMENT naming `flag` when `address` is no host:port, or is beyond loopback although
// nothing makes it fit for strangers: `remedy` names the flags that would.
absl::Status CheckListenAddress(std::string_view address, std::string_view flag,
                                bool fit_for_strangers, std::string_view remedy);

// `address` with its port replaced by the one that was bound.
std::string WithPort(std::string_view address, int port);

}  // namespace headlong
