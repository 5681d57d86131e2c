#include "worker/kernels/isa.h"

#include <cstdlib>

#include "spdlog/spdlog.h"

namespace headlong::cpu {
namespace {

Isa IsaOfEnvironment() {
  const char* wanted = std::getenv("HEADLONG_ISA");
  const Isa isa = ChooseIsa(wanted ? wanted : "", IsaSupported);
  if (wanted && std::string_view(wanted) != IsaName(isa)) {
    spdlog::warn(
        "HEADLONG_ISA \"{}\" is not one of generic, avx2, avx512 or not supported here; "
        "using {}",
        wanted, IsaName(isa));
  }
  return isa;
}

}  // namespace

const char* IsaName(Isa isa) {
  switch (isa) {
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kGeneric:
      break;
  }
  return "generic";
}

bool IsaSupported(Isa isa) {
#if defined(__x86_64__)
  switch (isa) {
    case Isa::kAvx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
             __builtin_cpu_supports("f16c");
    case Isa::kGeneric:
      break;
  }
#endif
  return isa == Isa::kGeneric;
}

Isa ChooseIsa(std::string_view wanted, const std::function<bool(Isa)>& supported) {
  for (Isa isa : kAllIsas) {
    if (wanted == IsaName(isa) && supported(isa)) return isa;
  }
  for (Isa isa : kAllIsas) {
    if (supported(isa)) return isa;
  }
  return Isa::kGeneric;
}

Isa CurrentIsa() {
  static const Isa isa = IsaOfEnvironment();
  return isa;
}

}  // namespace headlong::cpu
