#include "model/config.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/strings/str_join.h"
#include "common/json.h"
#include "common/status.h"
#include "model/alibi.h"
#include "model/layer_windows.h"
#include "model/rope.h"
#include "model/unsupported_features.h"

namespace headlong {
namespace {

// Sane upper ends: far above any published model, far below what overflows a product of them.
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxHeads = 4096;
constexpr int64_t kMaxHeadDim = 256;
constexpr int kMaxGroup = 64;  // query heads of a KV head: rows of one tile of attention
constexpr int64_t kMaxWidth = int64_t{1} << 22;  // hidden and intermediate size
constexpr int64_t kMaxVocab = int64_t{1} << 24;
constexpr int64_t kMaxContext = int64_t{1} << 30;
constexpr int64_t kMaxEosIds = 1024;

// What config.json calls the fields of a family.
struct Keys {
  const char* layers = "num_hidden_layers";
  const char* q_heads = "num_attention_heads";
  const char* hidden_size = "hidden_size";
  const char* max_context = "max_position_embeddings";
  const char* norm_eps = "rms_norm_eps";
};
constexpr Keys kMptKeys = {"n_layers", "n_heads", "d_model", "max_seq_len", "layer_norm_epsilon"};

// An architecture of transformers. The defaults are those of its configuration class, which hold
// where config.json is silent.
struct Family {
  std::string_view architecture;
  std::string_view model_type;
  std::string_view lacking = "";  // what this program does not run of it; empty: it runs
  int default_kv_heads = 0;       // 0: as many as query heads
  int default_head_dim = 0;       // 0: hidden_size / query heads
  WindowStyle windows = WindowStyle::kNone;
  bool qkv_bias = false;
  bool qk_norm = false;
  bool default_tied = false;
  bool alibi = false;             // else rotary
  int64_t default_expansion = 0;  // of the MLP, by expansion_ratio; 0: by intermediate_size
  NormType norm = NormType::kRms;
  double default_norm_eps = 0;  // 0: there is none
  MlpType mlp = MlpType::kGatedSilu;
  TensorLayout tensors = TensorLayout::kLlama;
  Keys keys = {};
};

constexpr Family kFamilies[] = {
    {.architecture = "LlamaForCausalLM", .model_type = "llama"},
    {.architecture = "MistralForCausalLM",
     .model_type = "mistral",
     .default_kv_heads = 8,
     .windows = WindowStyle::kAll},
    {.architecture = "MixtralForCausalLM", .model_type = "mixtral", .lacking = "experts"},
    {.architecture = "MptForCausalLM",
     .model_type = "mpt",
     .default_tied = true,
     .alibi = true,
     .default_expansion = 4,
     .norm = NormType::kLayer,
     .default_norm_eps = 1e-5,
     .mlp = MlpType::kGelu,
     .tensors = TensorLayout::kMpt,
     .keys = kMptKeys},
    {.architecture = "Qwen2ForCausalLM",
     .model_type = "qwen2",
     .default_kv_heads = 32,
     .windows = WindowStyle::kLayers,
     .qkv_bias = true},
    {.architecture = "Qwen2MoeForCausalLM", .model_type = "qwen2_moe", .lacking = "experts"},
    {.architecture = "Qwen3ForCausalLM",
     .model_type = "qwen3",
     .default_kv_heads = 32,
     .default_head_dim = 128,
     .windows = WindowStyle::kLayers,
     .qk_norm = true},
    {.architecture = "Qwen3MoeForCausalLM", .model_type = "qwen3_moe", .lacking = "experts"},
};

bool Given(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && !it->is_null();
}

absl::StatusOr<int> Count(const Json& object, const char* key, int64_t hi,
                          const std::string& source) {
  ASSIGN_OR_RETURN(const int64_t value, JsonInt(object, key, 1, hi, source));
  return static_cast<int>(value);
}

std::string RunnableArchitectures() {
  std::vector<absl::string_view> names;
  for (const Family& family : kFamilies) {
    if (family.lacking.empty()) names.push_back(Av(family.architecture));
  }
  return absl::StrJoin(names, ", ");
}

absl::StatusOr<Family> FindFamily(const Json& config, const std::string& source) {
  const auto list = config.find("architectures");
  if (list == config.end() || !list->is_array() || list->size() != 1 ||
      !list->front().is_string()) {
    return absl::InvalidArgumentError(absl::StrCat(
        source, ": architectures: must be a list of one name, ",
        list == config.end() ? "is missing" : absl::StrCat("is ", JsonExcerpt(*list))));
  }
  const auto& name = list->front().get_ref<const std::string&>();
  const Family* family = std::find_if(std::begin(kFamilies), std::end(kFamilies),
                                      [&](const Family& f) { return f.architecture == name; });
  if (family == std::end(kFamilies)) {
    return absl::UnimplementedError(
        absl::StrCat(source, ": architectures: ", JsonExcerpt(list->front()), " is not supported (",
                     RunnableArchitectures(), " are)"));
  }
  if (!family->lacking.empty()) {
    return absl::UnimplementedError(absl::StrCat(
        source, ": architectures: ", name, " is not supported: it has ", Av(family->lacking)));
  }
  if (Given(config, "model_type") && config.at("model_type") != family->model_type) {
    return absl::InvalidArgumentError(absl::StrCat(source, ": model_type: must be \"",
                                                   Av(family->model_type), "\" for ", name, ", is ",
                                                   JsonExcerpt(config.at("model_type"))));
  }
  return *family;
}

absl::Status ParseHeadDim(const Json& config, const Family& family, const std::string& source,
                          ModelConfig& model) {
  if (Given(config, "head_dim")) {
    ASSIGN_OR_RETURN(model.head_dim, Count(config, "head_dim", kMaxWidth, source));
  } else if (!config.contains("head_dim") && family.default_head_dim > 0) {
    model.head_dim = family.default_head_dim;
  } else if (model.hidden_size % model.q_heads == 0) {
    model.head_dim = model.hidden_size / model.q_heads;
  } else {
    return absl::InvalidArgumentError(absl::StrCat(
        source, ": ", family.keys.hidden_size, ": must be a multiple of ", family.keys.q_heads, " ",
        model.q_heads, " where head_dim is not given, is ", model.hidden_size));
  }
  if (model.head_dim % 8 != 0 || model.head_dim > kMaxHeadDim) {
    return absl::UnimplementedError(absl::StrCat(source,
                                                 ": head_dim: must be a multiple of 8 and at most ",
                                                 kMaxHeadDim, ", is ", model.head_dim));
  }
  return absl::OkStatus();
}

absl::Status ParseMlpWidth(const Json& config, const Family& family, const std::string& source,
                           ModelConfig& model) {
  if (family.default_expansion == 0) {
    ASSIGN_OR_RETURN(model.intermediate_size,
                     Count(config, "intermediate_size", kMaxWidth, source));
    return absl::OkStatus();
  }
  int64_t ratio = family.default_expansion;
  if (Given(config, "expansion_ratio")) {
    ASSIGN_OR_RETURN(ratio,
                     JsonInt(config, "expansion_ratio", 1, kMaxWidth / model.hidden_size, source));
  }
  model.intermediate_size = static_cast<int>(ratio * model.hidden_size);
  return absl::OkStatus();
}

absl::Status ParseShape(const Json& config, const Family& family, const std::string& source,
                        ModelConfig& model) {
  const Keys& keys = family.keys;
  ASSIGN_OR_RETURN(model.layers, Count(config, keys.layers, kMaxLayers, source));
  ASSIGN_OR_RETURN(model.q_heads, Count(config, keys.q_heads, kMaxHeads, source));
  ASSIGN_OR_RETURN(model.hidden_size, Count(config, keys.hidden_size, kMaxWidth, source));
  RETURN_IF_ERROR(ParseMlpWidth(config, family, source, model));
  ASSIGN_OR_RETURN(model.vocab_size, Count(config, "vocab_size", kMaxVocab, source));
  ASSIGN_OR_RETURN(model.max_context, JsonInt(config, keys.max_context, 1, kMaxContext, source));

  model.kv_heads = model.q_heads;
  if (Given(config, "num_key_value_heads")) {
    ASSIGN_OR_RETURN(model.kv_heads, Count(config, "num_key_value_heads", kMaxHeads, source));
  } else if (!config.contains("num_key_value_heads") && family.default_kv_heads > 0) {
    model.kv_heads = family.default_kv_heads;
  }
  if (model.q_heads % model.kv_heads != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": num_key_value_heads: must divide num_attention_heads ",
                     model.q_heads, ", is ", model.kv_heads));
  }
  if (model.group() > kMaxGroup) {
    return absl::UnimplementedError(
        absl::StrCat(source, ": num_key_value_heads: more than ", kMaxGroup,
                     " query heads for one are not supported, is ", model.kv_heads));
  }
  return ParseHeadDim(config, family, source, model);
}

// Rotary or ALiBi.
absl::Status ParsePositions(const Json& config, const Family& family, const std::string& source,
                            ModelConfig& model) {
  if (family.alibi) {
    ASSIGN_OR_RETURN(model.alibi_slopes, ParseAttnConfig(config, model.q_heads, source));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(model.rope, ParseRope(config, source));
  model.rope_frequencies = RopeInverseFrequencies(model.rope, model.head_dim);
  model.max_context = std::min(ScaledContext(model.rope, model.max_context), kMaxContext);
  return absl::OkStatus();
}

absl::Status ParseNormEps(const Json& config, const Family& family, const std::string& source,
                          ModelConfig& model) {
  const char* key = family.keys.norm_eps;
  model.norm_eps = family.default_norm_eps;
  if (family.default_norm_eps == 0 || Given(config, key)) {
    ASSIGN_OR_RETURN(model.norm_eps, JsonNumber(config, key, source));
  }
  if (model.norm_eps > 0 && model.norm_eps < 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(source, ": ", key, ": must be a number in (0, 1), is ", model.norm_eps));
}

absl::Status AddEosIds(const Json& object, int vocab_size, const std::string& source,
                       std::vector<int64_t>& ids) {
  if (!Given(object, "eos_token_id")) return absl::OkStatus();
  const Json& value = object.at("eos_token_id");
  const Json list = value.is_array() ? value : Json::array({value});
  if (static_cast<int64_t>(list.size()) > kMaxEosIds) {
    return absl::InvalidArgumentError(absl::StrCat(source, ": eos_token_id: must be at most ",
                                                   kMaxEosIds, " ids, is ", JsonExcerpt(list)));
  }
  for (const Json& item : list) {
    const std::optional<int64_t> id = JsonAsInt(item, 0, vocab_size - 1);
    if (!id) {
      return absl::InvalidArgumentError(absl::StrCat(source, ": eos_token_id: must be ids in [0, ",
                                                     vocab_size - 1, "], is ", JsonExcerpt(item)));
    }
    if (std::find(ids.begin(), ids.end(), *id) == ids.end()) ids.push_back(*id);
  }
  return absl::OkStatus();
}

absl::Status RequireObject(const Json& json, const std::string& source) {
  if (json.is_object()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(source, ": must be an object, is ", JsonExcerpt(json)));
}

absl::Status RequireFolder(const std::filesystem::path& folder) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(folder, error);
  if (status.type() == std::filesystem::file_type::not_found) {
    return absl::NotFoundError(absl::StrCat(folder.string(), ": no such folder"));
  }
  if (error) return absl::UnavailableError(absl::StrCat(folder.string(), ": ", error.message()));
  if (std::filesystem::is_directory(status)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(folder.string(), ": must be a model folder, is a file"));
}

}  // namespace

absl::StatusOr<ModelConfig> ParseModelConfig(const std::string& json_text,
                                             const std::string& source) {
  ASSIGN_OR_RETURN(const Json config, ParseJson(json_text, source));
  RETURN_IF_ERROR(RequireObject(config, source));
  ASSIGN_OR_RETURN(const Family family, FindFamily(config, source));

  ModelConfig model;
  model.architecture = std::string(family.architecture);
  model.qkv_bias = family.qkv_bias;
  model.qk_norm = family.qk_norm;
  model.norm = family.norm;
  model.mlp = family.mlp;
  model.tensors = family.tensors;
  model.tied_embeddings = family.default_tied;
  RETURN_IF_ERROR(RefuseUnsupportedFeatures(config, model, source));
  RETURN_IF_ERROR(ParseShape(config, family, source, model));
  RETURN_IF_ERROR(ParsePositions(config, family, source, model));
  RETURN_IF_ERROR(RefuseUnsupportedScales(config, model, source));
  const WindowContext windows{family.windows, model.layers, model.max_context};
  ASSIGN_OR_RETURN(model.layer_windows, ParseLayerWindows(config, windows, source));
  RETURN_IF_ERROR(ParseNormEps(config, family, source, model));
  if (Given(config, "tie_word_embeddings")) {
    ASSIGN_OR_RETURN(model.tied_embeddings, JsonBool(config, "tie_word_embeddings", source));
  }
  if (Given(config, "bos_token_id")) {
    ASSIGN_OR_RETURN(model.bos_token_id,
                     JsonInt(config, "bos_token_id", 0, model.vocab_size - 1, source));
  }
  RETURN_IF_ERROR(AddEosIds(config, model.vocab_size, source, model.eos_token_ids));
  return model;
}

absl::Status ApplyGenerationConfig(const std::string& json_text, const std::string& source,
                                   ModelConfig& model) {
  ASSIGN_OR_RETURN(const Json defaults, ParseJson(json_text, source));
  RETURN_IF_ERROR(RequireObject(defaults, source));
  std::vector<int64_t> ids = model.eos_token_ids;
  RETURN_IF_ERROR(AddEosIds(defaults, model.vocab_size, source, ids));
  model.eos_token_ids = std::move(ids);
  return absl::OkStatus();
}

absl::StatusOr<ModelConfig> LoadModelConfig(const std::filesystem::path& model_dir) {
  RETURN_IF_ERROR(RequireFolder(model_dir));
  const std::filesystem::path path = model_dir / "config.json";
  absl::StatusOr<std::string> text = ReadFile(path);
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError(
        absl::StrCat(model_dir.string(), ": no config.json, so this is no model folder"));
  }
  if (!text.ok()) return text.status();
  ASSIGN_OR_RETURN(ModelConfig model, ParseModelConfig(*text, path.string()));

  std::error_code error;
  const std::filesystem::path quantised = model_dir / "hf_quant_config.json";
  if (std::filesystem::exists(quantised, error)) {
    return absl::UnimplementedError(
        absl::StrCat(quantised.string(), ": quantised weights are not supported"));
  }
  const std::filesystem::path generation = model_dir / "generation_config.json";
  const absl::StatusOr<std::string> defaults = ReadFile(generation);
  if (absl::IsNotFound(defaults.status())) return model;
  if (!defaults.ok()) return defaults.status();
  RETURN_IF_ERROR(ApplyGenerationConfig(*defaults, generation.string(), model));
  return model;
}

}  // namespace headlong
