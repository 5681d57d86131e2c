// What a row of keys or values is once it has been stored as codes: numbers to codes and back,
// straight from the definition (cache/row_format.h, "A coded number"). Written apart from cache/
// and worker/, includes neither. Slow; pure.
#pragma once

#include <span>
#include <string_view>
#include <vector>

namespace headlong::reference {

// `type`: "fp32", "bf16", "fp16", "fp8", "int8" or "int4". REQUIRES: finite numbers.
std::vector<float> StoredRow(std::span<const float> numbers, std::string_view type);

}  // namespace headlong::reference
