// Constants of the wire between the coordinator and its workers (proto/headlong/v1/worker.proto).
#pragma once

#include <cstdint>

namespace headlong {

// Grows with every change that an older process would misunderstand.
inline constexpr uint32_t kWireProtocol = 3;

}  // namespace headlong
