// Models and plans as JSON and text. Pure but for OpenModelFolder and ReadModelConfig.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cache/plan.h"
#include "cli/head_map.h"
#include "cli/json_output.h"
#include "headlong/v1/inference.pb.h"
#include "model/config.h"

namespace headlong {

// A model folder read on this machine, as a server would describe it. Its weights are checked;
// errors are those of the model's files.
struct OfflineModel {
  v1::GetModelResponse description;  // without the fields of a running server
  int64_t weights_bytes = 0;
};
absl::StatusOr<OfflineModel> OpenModelFolder(const std::filesystem::path& folder,
                                             const std::string& plan);

// Of a model folder or of a config.json alone.
absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& folder_or_file);

struct ModelView {
  v1::GetModelResponse model;
  int64_t weights_bytes = 0;  // 0: not known (a server)
  bool served = false;
};
OutputJson ModelJson(const ModelView& view);
std::string ModelText(const ModelView& view);

// Sizes of one sequence under a plan at several lengths.
struct PlanView {
  Plan plan;
  int head_dim = 0;
  std::string kv_cache_dtype;
  std::vector<int64_t> lengths;
};
OutputJson PlanJson(const PlanView& view);
std::string PlanText(const PlanView& view, const MapStyle& style);

// 1,024, 4,096, ... up to the context.
std::vector<int64_t> DefaultLengths(int64_t max_context);

}  // namespace headlong
