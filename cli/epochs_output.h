// The epochs of a cluster as operators read them: why each began and what became of it. Pure.
#pragma once

#include "cli/admin_verb.h"
#include "headlong/v1/admin.pb.h"

namespace headlong {

AdminView EpochsView(const v1::ListEpochsResponse& epochs);

}  // namespace headlong
