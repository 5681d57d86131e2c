#include "cli/model_output.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cache/storage.h"
#include "cli/model_view.h"
#include "cli/quantity.h"
#include "cli/table.h"
#include "common/json.h"
#include "common/status.h"
#include "model/alibi.h"
#include "model/checkpoint.h"
#include "model/layer_windows.h"

namespace headlong {
namespace {

void SetShape(const ModelConfig& config, const Checkpoint& checkpoint, v1::ModelShape* shape) {
  shape->set_architecture(config.architecture);
  shape->set_layers(config.layers);
  shape->set_q_heads(config.q_heads);
  shape->set_kv_heads(config.kv_heads);
  shape->set_head_dim(config.head_dim);
  shape->set_hidden_size(config.hidden_size);
  shape->set_intermediate_size(config.intermediate_size);
  shape->set_vocab_size(config.vocab_size);
  shape->set_max_context(static_cast<uint32_t>(config.max_context));
  shape->set_parameters(checkpoint.parameters());
  shape->set_tied_embeddings(config.tied_embeddings);
  shape->set_stored_dtype(checkpoint.stored_dtype());
  shape->set_fingerprint(checkpoint.fingerprint());
  shape->set_rope(DescribePositions(config));
  shape->set_sliding_window(DescribeWindows(config.layer_windows));
}

struct SequenceSizes {
  int64_t bytes = 0;
  int64_t full = 0;
  double share() const { return full > 0 ? static_cast<double>(bytes) / full : 1; }
};

SequenceSizes SizesAt(const PlanView& view, int64_t length) {
  const int element_bytes = ElementBytes(view.kv_cache_dtype);
  return {view.plan.SequenceBytes(length, length, view.head_dim, element_bytes),
          view.plan.FullSequenceBytes(length, view.head_dim, element_bytes)};
}

std::vector<int> HeadsByPolicy(const Plan& plan) {
  std::vector<int> heads(plan.policies().size(), 0);
  for (int layer = 0; layer < plan.layers(); ++layer) {
    for (int head = 0; head < plan.kv_heads(); ++head) ++heads[plan.policy_index(layer, head)];
  }
  return heads;
}

std::string ParameterCount(uint64_t parameters) {
  if (parameters >= 1000000000) return absl::StrFormat("%.2f billion", parameters / 1e9);
  return absl::StrFormat("%.2f million", parameters / 1e6);
}

}  // namespace

absl::StatusOr<OfflineModel> OpenModelFolder(const std::filesystem::path& folder,
                                             const std::string& plan_name) {
  ASSIGN_OR_RETURN(const ModelConfig config, LoadModelConfig(folder));
  ASSIGN_OR_RETURN(const std::shared_ptr<const Checkpoint> checkpoint,
                   Checkpoint::Open(folder, config));
  const PlanShape shape = PlanShapeOf(config, checkpoint->fingerprint());
  ASSIGN_OR_RETURN(const Plan plan, Plan::Load(plan_name, folder, shape));
  OfflineModel model;
  model.description.set_name(std::filesystem::weakly_canonical(folder).filename().string());
  SetShape(config, *checkpoint, model.description.mutable_shape());
  model.description.set_plan_json(plan.ToJson());
  model.weights_bytes = checkpoint->bytes();
  return model;
}

absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& folder_or_file) {
  std::error_code error;
  if (std::filesystem::is_directory(folder_or_file, error)) return LoadModelConfig(folder_or_file);
  ASSIGN_OR_RETURN(const std::string text, ReadFile(folder_or_file));
  return ParseModelConfig(text, folder_or_file);
}

OutputJson ModelJson(const ModelView& view) {
  const v1::ModelShape& shape = view.model.shape();
  OutputJson json;
  json["name"] = view.model.name();
  json["architecture"] = shape.architecture();
  json["parameters"] = shape.parameters();
  json["layers"] = shape.layers();
  json["q_heads"] = shape.q_heads();
  json["kv_heads"] = shape.kv_heads();
  json["head_dim"] = shape.head_dim();
  json["hidden_size"] = shape.hidden_size();
  json["intermediate_size"] = shape.intermediate_size();
  json["vocab_size"] = shape.vocab_size();
  json["tied_embeddings"] = shape.tied_embeddings();
  json["stored_dtype"] = shape.stored_dtype();
  json["fingerprint"] = shape.fingerprint();
  if (!shape.rope().empty()) json["rope"] = shape.rope();
  if (!shape.sliding_window().empty()) json["sliding_window"] = shape.sliding_window();
  json["model_max_context"] = shape.max_context();
  if (view.weights_bytes > 0) json["weights_bytes"] = view.weights_bytes;
  if (view.served) {
    json["dtype"] = view.model.dtype();
    json["kv_cache_dtype"] = view.model.kv_cache_dtype();
    json["max_context"] = view.model.max_context();
    json["max_sequences"] = view.model.max_sequences();
  }
  json["plan"] = OutputJson::parse(view.model.plan_json(), nullptr, /*allow_exceptions=*/false);
  return json;
}

std::string ModelText(const ModelView& view) {
  const v1::ModelShape& shape = view.model.shape();
  std::string text = absl::StrCat("model     ", view.model.name(), " (", shape.architecture(), ", ",
                                  ParameterCount(shape.parameters()), " parameters in ",
                                  shape.stored_dtype(), ")\n");
  absl::StrAppend(&text, "shape     ", shape.layers(), " layers, ", shape.q_heads(),
                  " query heads, ", shape.kv_heads(), " KV heads of ", shape.head_dim(),
                  ", hidden ", FormatCount(shape.hidden_size()), ", MLP ",
                  FormatCount(shape.intermediate_size()), ", vocabulary ",
                  FormatCount(shape.vocab_size()),
                  shape.tied_embeddings() ? ", tied embeddings\n" : "\n");
  absl::StrAppend(&text, "context   ", FormatCount(shape.max_context()), " tokens");
  if (!shape.rope().empty()) {
    const bool alibi = shape.rope().starts_with("ALiBi");
    absl::StrAppend(&text, alibi ? ", positions: " : ", rotary embedding: ", shape.rope());
  }
  if (!shape.sliding_window().empty() && shape.sliding_window() != "none") {
    absl::StrAppend(&text, ", sliding window: ", shape.sliding_window());
  }
  text += "\n";
  if (view.weights_bytes > 0) {
    absl::StrAppend(&text, "weights   ", FormatBytes(view.weights_bytes), "\n");
  }
  if (view.served) {
    absl::StrAppend(&text, "served    in ", view.model.dtype(), ", cache in ",
                    view.model.kv_cache_dtype(), ", up to ", view.model.max_sequences(),
                    " sequences of ", FormatCount(view.model.max_context()), " tokens\n");
  }
  if (const absl::StatusOr<Plan> plan = PlanOf(view.model); plan.ok()) {
    const std::vector<int> heads = HeadsByPolicy(*plan);
    text += "plan    ";
    for (size_t i = 0; i < heads.size(); ++i) {
      absl::StrAppend(&text, i == 0 ? "  " : ", ", heads[i], " ", plan->policies()[i].name);
    }
    text += " heads\n";
  }
  absl::StrAppend(&text, "checksum  ", shape.fingerprint(), "\n");
  return text;
}

OutputJson PlanJson(const PlanView& view) {
  OutputJson json;
  json["plan"] = OutputJson::parse(view.plan.ToJson(), nullptr, /*allow_exceptions=*/false);
  json["kv_cache_dtype"] = view.kv_cache_dtype;
  json["policies"] = OutputJson::array();
  const std::vector<int> heads = HeadsByPolicy(view.plan);
  for (size_t i = 0; i < heads.size(); ++i) {
    OutputJson policy;
    policy["name"] = view.plan.policies()[i].name;
    policy["role"] = view.plan.policies()[i].full() ? "retrieval" : "local";
    policy["heads"] = heads[i];
    const LaneRule rule = view.plan.rule(static_cast<int>(i), view.lengths.back());
    policy["token_bytes"] =
        rule.format(view.head_dim, ElementBytes(view.kv_cache_dtype)).token_bytes();
    policy["lane_bytes"] = OutputJson::object();
    for (const int64_t length : view.lengths) {
      policy["lane_bytes"][absl::StrCat(length)] =
          LaneBytes(view.plan.rule(static_cast<int>(i), length), length, view.head_dim,
                    ElementBytes(view.kv_cache_dtype));
    }
    json["policies"].push_back(std::move(policy));
  }
  for (const char* field : {"cache_bytes", "full_cache_bytes", "share"}) {
    json[field] = OutputJson::object();
  }
  for (const int64_t length : view.lengths) {
    const SequenceSizes sizes = SizesAt(view, length);
    const std::string key = absl::StrCat(length);
    json["cache_bytes"][key] = sizes.bytes;
    json["full_cache_bytes"][key] = sizes.full;
    json["share"][key] = sizes.share();
  }
  return json;
}

std::string PlanText(const PlanView& view, const MapStyle& style) {
  Table table({">tokens", ">cache of a sequence", ">in full", ">share", ">bytes per token"});
  for (const int64_t length : view.lengths) {
    const SequenceSizes sizes = SizesAt(view, length);
    table.Row({FormatCount(length), FormatBytes(sizes.bytes), FormatBytes(sizes.full),
               FormatPercent(sizes.share()), FormatCount(sizes.bytes / length)});
  }
  return absl::StrCat(DrawPlanMap(view.plan, style), "\n", table.Text(), "cache in ",
                      view.kv_cache_dtype, ", prefill ",
                      view.plan.prefill() == PrefillMode::kExact ? "exact" : "streaming",
                      ", blocks of ", view.plan.block_tokens(), " tokens\n");
}

std::vector<int64_t> DefaultLengths(int64_t max_context) {
  std::vector<int64_t> lengths;
  for (int64_t length = 1024; length < max_context; length *= 4) lengths.push_back(length);
  lengths.push_back(std::max<int64_t>(max_context, 1));
  return lengths;
}

}  // namespace headlong
