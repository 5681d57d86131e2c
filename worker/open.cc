#include "worker/open.h"

#include <vector>

#include "common/status.h"

namespace headlong {

absl::StatusOr<DeviceChoice> FindDevice(const std::string& device, int gpu) {
  if (device == "cpu") return ChooseDevice(device, gpu, std::vector<Gpu>());
  auto choice = ChooseDevice(device, gpu, FindGpus());
  if (choice.ok()) return choice;
  return Annotate(choice.status(),
                  gpu >= 0 ? absl::StrCat("--gpu ", gpu) : absl::StrCat("--device ", device));
}

absl::StatusOr<std::shared_ptr<const Checkpoint>> OpenCheckpoint(
    const std::filesystem::path& model_dir, const std::string& load_format,
    const ModelConfig& config) {
  if (load_format == "dummy") return Checkpoint::Dummy(config);
  return Checkpoint::Open(model_dir, config);
}

}  // namespace headlong
