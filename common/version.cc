#include "common/version.h"

namespace headlong {

const char* Version() { return HEADLONG_VERSION; }

}  // namespace headlong
