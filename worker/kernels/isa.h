// Which build of the kernels runs on this processor. The sources
// attention_{tile,few_rows,panels}.cc and op_rows.cc are compiled once per instruction set, each
// into a namespace of its own (generic, avx2, avx512). Chosen once per process; any thread.
#pragma once

#include <functional>
#include <string_view>

namespace headlong::cpu {

enum class Isa { kGeneric, kAvx2, kAvx512 };
inline constexpr Isa kAllIsas[] = {Isa::kAvx512, Isa::kAvx2, Isa::kGeneric};  // best first

// "generic" | "avx2" | "avx512", the values of HEADLONG_ISA.
const char* IsaName(Isa isa);

// True where this processor and its operating system run code built for `isa`.
bool IsaSupported(Isa isa);

// The set named `wanted` if it is supported, else the best supported one.
Isa ChooseIsa(std::string_view wanted, const std::function<bool(Isa)>& supported);

// ChooseIsa(HEADLONG_ISA) for this processor; warns once if the variable names no supported set.
Isa CurrentIsa();

}  // namespace headlong::cpu
