// The text that needles are planted in and heads are measured on.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace headlong {

// The file of `flag`; where none was given hay.txt of the model folder, else of the default model.
// NOT_FOUND says which flag to give; INVALID_ARGUMENT: not UTF-8.
absl::StatusOr<std::string> ReadHayText(const std::string& given, const std::string& model,
                                        const std::string& flag);

}  // namespace headlong
