// What config.json says of sliding windows. Pure; callable from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/json.h"

namespace headlong {

// How an architecture of transformers says which layers have a window.
enum class WindowStyle {
  kNone,   // it has none: a window is refused
  kAll,    // Mistral: `sliding_window` holds in every layer; where config.json is silent it is 4096
  kLayers  // Qwen: where `use_sliding_window` is true, `sliding_window` (4096) holds in the layers
           // that `layer_types` names, else from `max_window_layers` (28) on
};

struct WindowContext {
  WindowStyle style = WindowStyle::kNone;
  int layers = 0;
  int64_t max_context = 0;  // a window at least as long is none
};

// As ModelConfig::layer_windows. UNIMPLEMENTED names a window or a kind of layer that is not run;
// INVALID_ARGUMENT names fields that contradict each other.
absl::StatusOr<std::vector<int64_t>> ParseLayerWindows(const Json& config,
                                                       const WindowContext& context,
                                                       const std::string& source);

// For people: "none", "4096 tokens", "4096 tokens in 14 of 28 layers".
std::string DescribeWindows(const std::vector<int64_t>& layer_windows);

}  // namespace headlong
