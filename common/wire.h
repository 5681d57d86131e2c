// Numbers that coordinator and workers must agree on.
#pragma once

#include <cstdint>

namespace headlong {

// Version of the protocol in proto/headlong/v1/worker.proto. A worker of another one is refused.
inline constexpr uint32_t kWireProtocol = 1;

}  // namespace headlong
