// What a process that computes opens first: its device, and the weights of its model.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "model/checkpoint.h"
#include "worker/gpu.h"

namespace headlong {

// As ChooseDevice, among this machine's GPUs. Errors begin with the flag, --device or --gpu.
absl::StatusOr<DeviceChoice> FindDevice(const std::string& device, int gpu);

// load_format: "auto", the model's files, or "dummy": no files, random weights.
absl::StatusOr<std::shared_ptr<const Checkpoint>> OpenCheckpoint(
    const std::filesystem::path& model_dir, const std::string& load_format,
    const ModelConfig& config);

}  // namespace headlong
