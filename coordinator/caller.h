// Who calls, by the access token that was shown. A plain value.
#pragma once

#include <string>

#include "common/access_tokens.h"

namespace headlong {

struct Caller {
  std::string name;  // empty: tokens are not asked for
  TokenLimits limits;
};

}  // namespace headlong
