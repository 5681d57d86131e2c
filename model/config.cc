#include "model/config.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <system_error>

#include "absl/strings/str_join.h"
#include "common/json.h"
#include "common/status.h"
#include "model/layer_windows.h"
#include "model/rope.h"

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
};

constexpr Family kFamilies[] = {
    {.architecture = "LlamaForCausalLM", .model_type = "llama"},
    {.architecture = "MistralForCausalLM",
     .model_type = "mistral",
     .default_kv_heads = 8,
     .windows = WindowStyle::kAll},
    {.architecture = "MixtralForCausalLM", .model_type = "mixtral", .lacking = "experts"},
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

// A field that changes the arithmetic when it is anything but null, false or `neutral`.
struct Feature {
  const char* key;
  std::string_view what;
  double neutral = 0;
};

constexpr Feature kUnsupportedFeatures[] = {
    {"quantization_config", "quantised weights are"},
    {"quantization", "quantised weights are"},
    {"compression_config", "quantised weights are"},
    {"attention_bias", "a bias in attention is"},
    {"qkv_bias", "a bias in attention is"},
    {"use_qkv_bias", "a bias in attention is"},
    {"mlp_bias", "a bias in the MLP is"},
    {"bias", "a bias is"},
    {"use_bias", "a bias is"},
    {"qk_norm", "a norm of query and key heads is"},
    {"use_qk_norm", "a norm of query and key heads is"},
    {"qk_layernorm", "a norm of query and key heads is"},
    {"num_experts", "a mixture of experts is"},
    {"num_local_experts", "a mixture of experts is"},
    {"n_routed_experts", "a mixture of experts is"},
    {"num_experts_per_tok", "a mixture of experts is"},
    {"moe_intermediate_size", "a mixture of experts is"},
    {"pretraining_tp", "tensor-parallel slicing is", 1},
    {"partial_rotary_factor", "a partly rotated head is", 1},
    {"rotary_pct", "a partly rotated head is", 1},
    {"alibi", "a linear position bias is"},
    {"attn_logit_softcapping", "capped attention logits are"},
    {"final_logit_softcapping", "capped logits are"},
    {"embedding_multiplier", "scaled embeddings are", 1},
    {"residual_multiplier", "scaled residuals are", 1},
    {"logits_scaling", "scaled logits are", 1},
    {"logit_scale", "scaled logits are", 1},
    {"is_encoder_decoder", "an encoder is"},
    {"add_cross_attention", "cross attention is"},
};

bool Given(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && !it->is_null();
}

absl::Status Unsupported(const std::string& source, std::string_view key, const Json& value,
                         std::string_view what) {
  return absl::UnimplementedError(absl::StrCat(source, ": ", Av(key), ": ", Av(what),
                                               " not supported, is ", JsonExcerpt(value)));
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

absl::Status RefuseUnsupported(const Json& config, const std::string& source) {
  for (const Feature& feature : kUnsupportedFeatures) {
    const auto it = config.find(feature.key);
    if (it == config.end() || it->is_null() || *it == false) continue;
    if (it->is_number() && it->get<double>() == feature.neutral) continue;
    return Unsupported(source, feature.key, *it, feature.what);
  }
  if (Given(config, "hidden_act")) {
    ASSIGN_OR_RETURN(const std::string name, JsonString(config, "hidden_act", source));
    if (name != "silu" && name != "swish") {  // two names of one function
      return Unsupported(source, "hidden_act", name, "an activation other than silu is");
    }
  }
  return absl::OkStatus();
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
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": hidden_size: must be a multiple of num_attention_heads ",
                     model.q_heads, " where head_dim is not given, is ", model.hidden_size));
  }
  if (model.head_dim % 8 != 0 || model.head_dim > kMaxHeadDim) {
    return absl::UnimplementedError(absl::StrCat(source,
                                                 ": head_dim: must be a multiple of 8 and at most ",
                                                 kMaxHeadDim, ", is ", model.head_dim));
  }
  return absl::OkStatus();
}

absl::Status ParseShape(const Json& config, const Family& family, const std::string& source,
                        ModelConfig& model) {
  ASSIGN_OR_RETURN(model.layers, Count(config, "num_hidden_layers", kMaxLayers, source));
  ASSIGN_OR_RETURN(model.q_heads, Count(config, "num_attention_heads", kMaxHeads, source));
  ASSIGN_OR_RETURN(model.hidden_size, Count(config, "hidden_size", kMaxWidth, source));
  ASSIGN_OR_RETURN(model.intermediate_size, Count(config, "intermediate_size", kMaxWidth, source));
  ASSIGN_OR_RETURN(model.vocab_size, Count(config, "vocab_size", kMaxVocab, source));
  ASSIGN_OR_RETURN(model.max_context,
                   JsonInt(config, "max_position_embeddings", 1, kMaxContext, source));

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
  RETURN_IF_ERROR(RefuseUnsupported(config, source));

  ModelConfig model;
  model.architecture = std::string(family.architecture);
  RETURN_IF_ERROR(ParseShape(config, family, source, model));
  model.qkv_bias = family.qkv_bias;
  model.qk_norm = family.qk_norm;
  const WindowContext windows{family.windows, model.layers, model.max_context};
  ASSIGN_OR_RETURN(model.layer_windows, ParseLayerWindows(config, windows, source));
  ASSIGN_OR_RETURN(model.rope, ParseRope(config, source));
  model.rope_frequencies = RopeInverseFrequencies(model.rope, model.head_dim);
  ASSIGN_OR_RETURN(model.rms_norm_eps, JsonNumber(config, "rms_norm_eps", source));
  if (!(model.rms_norm_eps > 0 && model.rms_norm_eps < 1)) {
    return absl::InvalidArgumentError(absl::StrCat(
        source, ": rms_norm_eps: must be a number in (0, 1), is ", model.rms_norm_eps));
  }
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
  const absl::StatusOr<Json> defaults = ReadJsonFile(generation);
  if (absl::IsNotFound(defaults.status())) return model;
  if (!defaults.ok()) return defaults.status();
  RETURN_IF_ERROR(RequireObject(*defaults, generation.string()));
  RETURN_IF_ERROR(AddEosIds(*defaults, model.vocab_size, generation.string(), model.eos_token_ids));
  return model;
}

}  // namespace headlong
