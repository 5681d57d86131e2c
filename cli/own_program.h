// Where this program's own file lies, to start it once more.
#pragma once

#include <string>

namespace headlong {

// The running program's own file, also when it was replaced on disk meanwhile.
std::string OwnProgram();

}  // namespace headlong
