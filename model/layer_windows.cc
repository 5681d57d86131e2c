#include "model/layer_windows.h"

#include <algorithm>
#include <limits>

#include "common/status.h"

namespace headlong {
namespace {

// Of the configuration classes of transformers, where config.json is silent.
constexpr int64_t kDefaultWindow = 4096;
constexpr int64_t kDefaultMaxWindowLayers = 28;

bool Given(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && !it->is_null();
}

absl::Status Contradiction(const std::string& source, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(source, ": layer_types: ", what));
}

// `layer_types` as flags, true where a layer slides. Empty where it is absent.
absl::StatusOr<std::vector<bool>> SlidingLayers(const Json& config, int layers,
                                                const std::string& source) {
  std::vector<bool> sliding;
  if (!Given(config, "layer_types")) return sliding;
  const Json& types = config.at("layer_types");
  if (!types.is_array()) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": layer_types: must be a list, is ", JsonExcerpt(types)));
  }
  for (const Json& type : types) {
    if (type != "full_attention" && type != "sliding_attention") {
      return absl::UnimplementedError(
          absl::StrCat(source, ": layer_types: a layer other than full_attention and ",
                       "sliding_attention is not supported, is ", JsonExcerpt(type)));
    }
    sliding.push_back(type == "sliding_attention");
  }
  if (static_cast<int>(sliding.size()) != layers) {
    return Contradiction(source, absl::StrCat("must name num_hidden_layers ", layers,
                                              " layers, names ", sliding.size()));
  }
  return sliding;
}

// The window's length; 0: none.
absl::StatusOr<int64_t> WindowLength(const Json& config, const WindowContext& context,
                                     const std::string& source) {
  if (context.style == WindowStyle::kLayers) {
    bool used = false;
    if (Given(config, "use_sliding_window")) {
      ASSIGN_OR_RETURN(used, JsonBool(config, "use_sliding_window", source));
    }
    if (!used) return 0;
  }
  if (Given(config, "sliding_window")) {
    return JsonInt(config, "sliding_window", 0, std::numeric_limits<int64_t>::max(), source);
  }
  const bool silent = !config.contains("sliding_window");
  return silent && context.style != WindowStyle::kNone ? kDefaultWindow : 0;
}

}  // namespace

absl::StatusOr<std::vector<int64_t>> ParseLayerWindows(const Json& config,
                                                       const WindowContext& context,
                                                       const std::string& source) {
  ASSIGN_OR_RETURN(std::vector<bool> sliding, SlidingLayers(config, context.layers, source));
  const bool named = !sliding.empty();
  const auto named_sliding = std::count(sliding.begin(), sliding.end(), true);
  ASSIGN_OR_RETURN(const int64_t window, WindowLength(config, context, source));
  if (window == 0) {
    if (named_sliding == 0) return std::vector<int64_t>();
    return Contradiction(source, "names sliding_attention, but there is no sliding window");
  }
  if (window >= context.max_context) return std::vector<int64_t>();
  if (context.style == WindowStyle::kNone) {
    return absl::UnimplementedError(
        absl::StrCat(source, ": sliding_window: a sliding window in a model of this architecture ",
                     "is not supported, is ", window));
  }
  if (context.style == WindowStyle::kAll && named && named_sliding != context.layers) {
    return Contradiction(source, "names full_attention, but sliding_window holds in every layer");
  }
  if (!named) {
    int64_t first = 0;
    if (context.style == WindowStyle::kLayers) {
      first = kDefaultMaxWindowLayers;
      if (Given(config, "max_window_layers")) {
        ASSIGN_OR_RETURN(first, JsonInt(config, "max_window_layers", 0,
                                        std::numeric_limits<int32_t>::max(), source));
      }
    }
    for (int layer = 0; layer < context.layers; ++layer) sliding.push_back(layer >= first);
  }
  std::vector<int64_t> windows;
  for (const bool slides : sliding) windows.push_back(slides ? window : 0);
  if (std::count(windows.begin(), windows.end(), 0) == context.layers) windows.clear();
  return windows;
}

std::string DescribeWindows(const std::vector<int64_t>& layer_windows) {
  if (layer_windows.empty()) return "none";
  const int64_t window = *std::max_element(layer_windows.begin(), layer_windows.end());
  const auto full = std::count(layer_windows.begin(), layer_windows.end(), 0);
  const auto layers = static_cast<int64_t>(layer_windows.size());
  if (full == 0) return absl::StrCat(window, " tokens");
  return absl::StrCat(window, " tokens in ", layers - full, " of ", layers, " layers");
}

}  // namespace headlong
