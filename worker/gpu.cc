#include "worker/gpu.h"

#include <algorithm>
#include <sstream>

#include "common/status.h"

namespace headlong {
namespace {

// Contexts, code and workspaces of CUDA and its libraries, and what rounding up of blocks takes.
constexpr int64_t kBesideBytes = int64_t{768} << 20;

}  // namespace

absl::StatusOr<DeviceChoice> ChooseDevice(const std::string& device, int index,
                                          const absl::StatusOr<std::vector<Gpu>>& gpus) {
  const DeviceChoice cpu{-1, "cpu", ""};
  if (device == "cpu") {
    if (index < 0) return cpu;
    return absl::InvalidArgumentError("--gpu names a GPU, --device cpu wants none");
  }
  if (device != "auto" && device != "cuda") {
    return absl::InvalidArgumentError(
        absl::StrCat("--device: must be auto, cpu or cuda, is \"", device, "\""));
  }
  const bool fall_back = device == "auto" && index < 0;
  if (!gpus.ok()) return fall_back ? cpu : absl::StatusOr<DeviceChoice>(gpus.status());
  std::string refusal = "no GPU";
  for (const Gpu& gpu : *gpus) {
    if (index >= 0 && gpu.index != index) continue;
    if (gpu.refusal.empty()) {
      return DeviceChoice{gpu.index, absl::StrCat("cuda:", gpu.index, " ", gpu.name), gpu.uuid};
    }
    refusal = absl::StrCat("cuda:", gpu.index, " ", gpu.name, ": ", gpu.refusal);
  }
  if (fall_back) return cpu;
  if (index >= static_cast<int>(gpus->size())) {
    refusal = absl::StrCat("there is no GPU ", index, ", this machine has ", gpus->size());
  }
  return absl::FailedPreconditionError(refusal);
}

// "90a-real": machine code for 9.0 alone. "80-real": for 8.x from 8.0 on. "120": code, and an
// intermediate form that later GPUs compile.
bool RunsOn(const std::string& architectures, int major, int minor) {
  std::istringstream all(architectures);
  for (std::string one; std::getline(all, one, ',');) {
    const int number = std::atoi(one.c_str());
    const bool exact = one.find('a') == std::to_string(number).size();
    const int own = 10 * major + minor;
    if (exact ? own == number : number / 10 == major && number <= own) return true;
    const bool intermediate = one.find("-real") == std::string::npos;
    if (intermediate && !exact && number <= own) return true;
  }
  return false;
}

int64_t DefaultGpuLimit(const GpuMemory& memory, int sharing) {
  const int64_t part = memory.total_bytes / std::max(sharing, 1);
  return std::max<int64_t>(0, std::min(memory.free_bytes, part) - kBesideBytes);
}

}  // namespace headlong
