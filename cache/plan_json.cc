// plan.json to a Plan and back. What is not understood is refused by name: a plan with a misspelt
// field would run, and only its answers would be wrong.

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

#include "cache/plan.h"
#include "common/json.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr int kVersion = 1;
constexpr int kMaxBlockTokens = 4096;
constexpr int64_t kMaxTokens = std::numeric_limits<int32_t>::max();
constexpr size_t kFingerprintDigits = 64;
constexpr JsonLimits kLimits{.max_depth = 8};

absl::Status Refuse(std::string_view what, const std::string& why) {
  return absl::InvalidArgumentError(absl::StrCat(Av(what), ": ", why));
}

// `"name"`, short and valid UTF-8 whatever the name is.
std::string Quoted(const std::string& name) { return JsonExcerpt(Json(name)); }

// A field whose value is one of two words; true for the second. Absent: the first.
absl::StatusOr<bool> SecondWord(const Json& object, const std::string& key,
                                std::pair<std::string_view, std::string_view> words,
                                std::string_view what) {
  if (!object.contains(key)) return false;
  ASSIGN_OR_RETURN(const std::string word, JsonString(object, key, what));
  if (word == words.first) return false;
  if (word == words.second) return true;
  return Refuse(what, absl::StrCat(key, ": must be \"", Av(words.first), "\" or \"",
                                   Av(words.second), "\", is ", Quoted(word)));
}

// {"k": "int8", "v": "int4"}, either may be absent.
absl::StatusOr<LaneStorage> ParseStorage(const Json& policy, std::string_view what) {
  LaneStorage storage;
  const auto it = policy.find("storage");
  if (it == policy.end()) return storage;
  const std::string where = absl::StrCat(Av(what), ": storage");
  RETURN_IF_ERROR(JsonOnlyFields(*it, {"k", "v"}, where));
  for (const auto& [key, type] : {std::pair{"k", &storage.keys}, {"v", &storage.values}}) {
    if (!it->contains(key)) continue;
    ASSIGN_OR_RETURN(const std::string name, JsonString(*it, key, where));
    const absl::StatusOr<Storage> parsed = StorageFromName(name);
    if (!parsed.ok()) {
      return Refuse(where, absl::StrCat(key,
                                        ": must be \"fp8\", \"int8\", \"int4\", \"fp16\", "
                                        "\"bf16\" or \"fp32\", is ",
                                        Quoted(name), "; absent: as the cache's own type"));
    }
    *type = *parsed;
  }
  return storage;
}

// {"k": 48, "v": 64}, either may be absent. `head_dim` 0: not known.
absl::StatusOr<LaneRank> ParseRank(const Json& policy, int head_dim, std::string_view what) {
  LaneRank rank;
  const auto it = policy.find("rank");
  if (it == policy.end()) return rank;
  const std::string where = absl::StrCat(Av(what), ": rank");
  RETURN_IF_ERROR(JsonOnlyFields(*it, {"k", "v"}, where));
  for (const auto& [key, numbers] : {std::pair{"k", &rank.keys}, {"v", &rank.values}}) {
    if (!it->contains(key)) continue;
    const int64_t most = head_dim > 0 ? head_dim : kMaxHeadDim;
    ASSIGN_OR_RETURN(const int64_t value, JsonInt(*it, key, kRankStep, most, where));
    if (value % kRankStep != 0) {
      return Refuse(where,
                    absl::StrCat(key, ": must be a multiple of ", kRankStep, ", is ", value));
    }
    *numbers = static_cast<int>(value);
  }
  return rank;
}

absl::StatusOr<Compensation> ParseCompensation(const Json& json, bool alibi,
                                               std::string_view what) {
  ASSIGN_OR_RETURN(const bool none, SecondWord(json, "compensation", {"mean", "none"}, what));
  if (!alibi) return none ? Compensation::kNone : Compensation::kMean;
  if (none || !json.contains("compensation")) return Compensation::kNone;
  return Refuse(what,
                "compensation: must be \"none\" for a model with ALiBi: the mean of keys at many "
                "distances has no distance of its own");
}

absl::StatusOr<HeadPolicy> ParsePolicy(const std::string& name, const Json& json,
                                       const PlanShape& shape, std::string_view what) {
  HeadPolicy policy;
  policy.name = name;
  RETURN_IF_ERROR(JsonOnlyFields(
      json, {"sinks", "window_tokens", "compensation", "storage", "rank", "rotation"}, what));
  if (name.empty()) return Refuse(what, "a policy needs a name");
  ASSIGN_OR_RETURN(policy.storage, ParseStorage(json, what));
  ASSIGN_OR_RETURN(policy.rank, ParseRank(json, shape.head_dim, what));
  ASSIGN_OR_RETURN(const bool hadamard, SecondWord(json, "rotation", {"none", "hadamard"}, what));
  if (hadamard && policy.rank.projected()) {
    return Refuse(what, "rotation: has no meaning beside rank: projections rotate already");
  }
  if (hadamard) policy.rotation = Rotation::kHadamard;
  if (json.contains("sinks")) {
    ASSIGN_OR_RETURN(const int64_t sinks, JsonInt(json, "sinks", 0, kMaxTokens, what));
    policy.sinks = static_cast<int>(sinks);
  }
  if (!json.contains("window_tokens")) {
    for (const auto& [key, value] : json.items()) {
      if (key == "storage" || key == "rank" || key == "rotation") continue;
      if (key == "sinks" && policy.storage.coded()) continue;
      return Refuse(what, absl::StrCat(key,
                                       ": has no meaning without window_tokens: a policy "
                                       "without a window keeps everything"));
    }
    return policy;
  }
  ASSIGN_OR_RETURN(policy.window_tokens, JsonInt(json, "window_tokens", 1, kMaxTokens, what));
  ASSIGN_OR_RETURN(policy.compensation, ParseCompensation(json, shape.alibi, what));
  return policy;
}

// Sorted by name, as JSON objects are here.
absl::StatusOr<std::vector<HeadPolicy>> ParsePolicies(const Json& root, const PlanShape& shape,
                                                      std::string_view source) {
  const auto it = root.find("policies");
  if (it == root.end()) return Refuse(source, "policies: must be an object, is missing");
  const std::string what = absl::StrCat(Av(source), ": policies");
  if (!it->is_object() || it->empty()) {
    return Refuse(what,
                  absl::StrCat("must be an object that names a policy, is ", JsonExcerpt(*it)));
  }
  std::vector<HeadPolicy> policies;
  for (const auto& [name, json] : it->items()) {
    ASSIGN_OR_RETURN(HeadPolicy policy,
                     ParsePolicy(name, json, shape, absl::StrCat(what, "[", Quoted(name), "]")));
    policies.push_back(std::move(policy));
  }
  return policies;
}

// The index of the policy that `object`'s field `key` names.
absl::StatusOr<int> PolicyField(const Json& object, const std::string& key,
                                const std::vector<HeadPolicy>& policies, std::string_view what) {
  ASSIGN_OR_RETURN(const std::string name, JsonString(object, key, what));
  for (size_t i = 0; i < policies.size(); ++i) {
    if (policies[i].name == name) return static_cast<int>(i);
  }
  return Refuse(what, absl::StrCat(key, ": ", Quoted(name), " is not in policies"));
}

// What the entries of "heads" say, gathered into one policy index per head of the model.
class HeadEntries {
 public:
  HeadEntries(const PlanShape& shape, const std::vector<HeadPolicy>& policies)
      : shape_(shape),
        policies_(policies),
        heads_(static_cast<size_t>(shape.layers) * shape.kv_heads, kUnnamed) {}

  absl::Status Add(const Json& entry, std::string_view what) {
    RETURN_IF_ERROR(JsonOnlyFields(entry, {"layer", "heads", "policy"}, what));
    ASSIGN_OR_RETURN(const int64_t layer, Index(entry, "layer", shape_.layers, what));
    ASSIGN_OR_RETURN(const int policy, PolicyField(entry, "policy", policies_, what));
    const auto heads = entry.find("heads");
    if (heads == entry.end() || !heads->is_array() || heads->empty()) {
      return Refuse(
          what, absl::StrCat("heads: must be an array of heads, ",
                             heads == entry.end() ? "is missing" : "is " + JsonExcerpt(*heads)));
    }
    for (const Json& value : *heads) {
      const Json named = {{"head", value}};
      ASSIGN_OR_RETURN(const int64_t head, Index(named, "head", shape_.kv_heads, what));
      int& slot = heads_[layer * shape_.kv_heads + head];
      if (slot != kUnnamed) {
        return Refuse(what, absl::StrCat("layer ", layer, " head ", head, " is named twice"));
      }
      slot = policy;
    }
    return absl::OkStatus();
  }

  std::vector<int> WithDefault(int policy) && {
    std::replace(heads_.begin(), heads_.end(), kUnnamed, policy);
    return std::move(heads_);
  }

 private:
  static constexpr int kUnnamed = -1;

  static absl::StatusOr<int64_t> Index(const Json& object, const std::string& key, int count,
                                       std::string_view what) {
    const auto it = object.find(key);
    const bool integer = it != object.end() && it->is_number_integer();
    if (integer && (*it < 0 || *it >= count)) {
      return Refuse(what, absl::StrCat(key, " ", it->dump(), " is not in [0, ", count - 1, "]"));
    }
    return JsonInt(object, key, 0, count - 1, what);
  }

  const PlanShape& shape_;
  const std::vector<HeadPolicy>& policies_;
  std::vector<int> heads_;
};

absl::Status CheckShape(const Json& root, const PlanShape& shape, std::string_view source) {
  const std::pair<std::string, int> counts[] = {{"layers", shape.layers},
                                                {"kv_heads", shape.kv_heads}};
  for (const auto& [key, expected] : counts) {
    ASSIGN_OR_RETURN(const int64_t count, JsonInt(root, key, 1, kMaxTokens, source));
    if (count != expected) {
      return Refuse(source,
                    absl::StrCat(key, ": the plan is for ", count, ", the model has ", expected));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ParseDigest(const Json& object, const std::string& key,
                                        std::string_view what) {
  ASSIGN_OR_RETURN(std::string digits, JsonString(object, key, what));
  if (digits.size() == kFingerprintDigits &&
      digits.find_first_not_of("0123456789abcdef") == std::string::npos) {
    return digits;
  }
  return Refuse(what, absl::StrCat(key, ": must be ", kFingerprintDigits,
                                   " lower-case hex digits, is ", Quoted(digits)));
}

// Empty when the plan names none.
absl::StatusOr<std::string> ParseFingerprint(const Json& root, const PlanShape& shape,
                                             std::string_view source) {
  if (!root.contains("model_fingerprint")) return std::string();
  ASSIGN_OR_RETURN(const std::string digits, ParseDigest(root, "model_fingerprint", source));
  if (!shape.model_fingerprint.empty() && digits != shape.model_fingerprint) {
    return Refuse(source, absl::StrCat("model_fingerprint: the plan is for ", digits,
                                       ", the model is ", shape.model_fingerprint));
  }
  return digits;
}

// {"file": "plan.projections.safetensors", "sha256": "..."}: there where, and only where, a policy
// has a rank. Both empty: none has.
absl::StatusOr<std::pair<std::string, std::string>> ParseProjections(
    const Json& root, const std::vector<HeadPolicy>& policies, std::string_view source) {
  const auto projected = std::find_if(policies.begin(), policies.end(),
                                      [](const HeadPolicy& p) { return p.rank.projected(); });
  const auto it = root.find("projections");
  if (it == root.end()) {
    if (projected == policies.end()) return std::pair<std::string, std::string>();
    return Refuse(source,
                  absl::StrCat("projections: is missing, and policy ", Quoted(projected->name),
                               " has a rank: the file with the projections of its heads"));
  }
  if (projected == policies.end()) return Refuse(source, "projections: no policy has a rank");
  const std::string what = absl::StrCat(Av(source), ": projections");
  RETURN_IF_ERROR(JsonOnlyFields(*it, {"file", "sha256"}, what));
  ASSIGN_OR_RETURN(const std::string file, JsonString(*it, "file", what));
  if (file.empty()) return Refuse(what, "file: is empty");
  ASSIGN_OR_RETURN(const std::string digest, ParseDigest(*it, "sha256", what));
  return std::pair(file, digest);
}

absl::StatusOr<int> ParseBlockTokens(const Json& root, std::string_view source) {
  if (!root.contains("block_tokens")) return kBlockTokens;
  ASSIGN_OR_RETURN(const int64_t tokens,
                   JsonInt(root, "block_tokens", kBlockTokens, kMaxBlockTokens, source));
  if (tokens % kBlockTokens != 0) {
    return Refuse(source, absl::StrCat("block_tokens: must be a multiple of ", kBlockTokens,
                                       ", is ", tokens));
  }
  return static_cast<int>(tokens);
}

nlohmann::ordered_json PolicyJson(const HeadPolicy& policy) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (!policy.full() || policy.storage.coded()) json["sinks"] = policy.sinks;
  if (!policy.full()) {
    json["window_tokens"] = *policy.window_tokens;
    json["compensation"] = policy.compensation == Compensation::kMean ? "mean" : "none";
  }
  const auto name = [](Storage storage) { return std::string(StorageName(storage)); };
  if (policy.storage.keys) json["storage"]["k"] = name(*policy.storage.keys);
  if (policy.storage.values) json["storage"]["v"] = name(*policy.storage.values);
  if (policy.rank.keys > 0) json["rank"]["k"] = policy.rank.keys;
  if (policy.rank.values > 0) json["rank"]["v"] = policy.rank.values;
  if (policy.rotation == Rotation::kHadamard) json["rotation"] = "hadamard";
  return json;
}

}  // namespace

absl::StatusOr<Plan> Plan::FromJson(std::string_view text, const PlanShape& shape,
                                    std::string_view source) {
  ASSIGN_OR_RETURN(const Json root, ParseJson(text, source, kLimits));
  RETURN_IF_ERROR(
      JsonOnlyFields(root,
                     {"version", "layers", "kv_heads", "block_tokens", "prefill", "policies",
                      "default", "heads", "model_fingerprint", "projections"},
                     source));
  ASSIGN_OR_RETURN(const int64_t version, JsonInt(root, "version", 0, kMaxTokens, source));
  if (version != kVersion) {
    return Refuse(source, absl::StrCat("version: is ", version, ", this program reads ", kVersion));
  }
  RETURN_IF_ERROR(CheckShape(root, shape, source));

  Plan plan;
  plan.layers_ = shape.layers;
  plan.kv_heads_ = shape.kv_heads;
  ASSIGN_OR_RETURN(plan.model_fingerprint_, ParseFingerprint(root, shape, source));
  ASSIGN_OR_RETURN(plan.block_tokens_, ParseBlockTokens(root, source));
  ASSIGN_OR_RETURN(const bool exact, SecondWord(root, "prefill", {"streaming", "exact"}, source));
  plan.prefill_ = exact ? PrefillMode::kExact : PrefillMode::kStreaming;
  ASSIGN_OR_RETURN(plan.policies_, ParsePolicies(root, shape, source));
  ASSIGN_OR_RETURN(std::tie(plan.projections_file_, plan.projections_digest_),
                   ParseProjections(root, plan.policies_, source));
  ASSIGN_OR_RETURN(const int policy, PolicyField(root, "default", plan.policies_, source));
  plan.default_policy_ = plan.policies_[policy].name;

  HeadEntries entries(shape, plan.policies_);
  if (const auto heads = root.find("heads"); heads != root.end()) {
    if (!heads->is_array()) {
      return Refuse(source, absl::StrCat("heads: must be an array, is ", JsonExcerpt(*heads)));
    }
    for (size_t i = 0; i < heads->size(); ++i) {
      RETURN_IF_ERROR(entries.Add((*heads)[i], absl::StrCat(Av(source), ": heads[", i, "]")));
    }
  }
  plan.heads_ = std::move(entries).WithDefault(policy);
  return plan;
}

std::string Plan::ToJson() const {
  nlohmann::ordered_json root;
  root["version"] = kVersion;
  root["layers"] = layers_;
  root["kv_heads"] = kv_heads_;
  root["block_tokens"] = block_tokens_;
  root["prefill"] = prefill_ == PrefillMode::kExact ? "exact" : "streaming";
  if (!model_fingerprint_.empty()) root["model_fingerprint"] = model_fingerprint_;
  if (!projections_file_.empty())
    root["projections"] = {{"file", projections_file_}, {"sha256", projections_digest_}};
  for (const HeadPolicy& entry : policies_) root["policies"][entry.name] = PolicyJson(entry);
  root["default"] = default_policy_;
  root["heads"] = nlohmann::ordered_json::array();
  for (int layer = 0; layer < layers_; ++layer) {
    for (size_t index = 0; index < policies_.size(); ++index) {
      if (policies_[index].name == default_policy_) continue;
      auto heads = nlohmann::ordered_json::array();
      for (int head = 0; head < kv_heads_; ++head) {
        if (policy_index(layer, head) == static_cast<int>(index)) heads.push_back(head);
      }
      if (heads.empty()) continue;
      root["heads"].push_back(
          {{"layer", layer}, {"heads", heads}, {"policy", policies_[index].name}});
    }
  }
  // Names came out of a JSON text, so they are UTF-8: nothing is replaced, and nothing throws.
  return root.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace headlong
