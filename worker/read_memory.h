// Reading memory as fast as a thread can: what `worker/profile` and `kernel_cases` hold others to.
#pragma once

#include <cstdint>

namespace headlong {

// The sum of x[0, n), up to the last n % 64 of them: every byte is read once, in order.
float ReadAndSum(const float* x, int64_t n);

}  // namespace headlong
