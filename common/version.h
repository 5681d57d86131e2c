// Which program this is. Processes of a cluster tell each other, so that an operator sees who was
// left behind by an update; what they may speak with is decided by kWireProtocol alone.
#pragma once

namespace headlong {

const char* Version();  // "0.1.0"

}  // namespace headlong
