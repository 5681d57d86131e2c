// Which files of a model folder hold its weights: model.safetensors, or the shards that
// model.safetensors.index.json names. Stateless; callable from any thread.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace headlong {

struct WeightFiles {
  std::vector<std::string> names;               // plain file names, sorted
  std::map<std::string, std::string> shard_of;  // tensor -> file name; empty: one file, no index
};

// As transformers does, model.safetensors is taken where both are there. NOT_FOUND when the folder
// holds no weights or not every shard, INVALID_ARGUMENT for an index that names anything but plain
// files of the folder. Errors name the file.
absl::StatusOr<WeightFiles> FindWeightFiles(const std::filesystem::path& model_dir);

// The file names and the map of an index's text, checked; touches no file.
absl::StatusOr<WeightFiles> ParseWeightIndex(const std::string& json_text,
                                             const std::string& source);

}  // namespace headlong
