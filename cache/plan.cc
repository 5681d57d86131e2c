#include "cache/plan.h"

#include <map>
#include <system_error>

#include "cache/check.h"
#include "common/json.h"
#include "common/status.h"

namespace headlong {

using cache_internal::Check;

namespace {

// The plan as its file or name says it.
absl::StatusOr<Plan> Unbounded(const std::string& name, const std::filesystem::path& model_dir,
                               const PlanShape& shape) {
  if (name == "full") return Plan::Full(shape.layers, shape.kv_heads);
  if (name == "local") {
    return Plan::Local(shape.layers, shape.kv_heads,
                       shape.alibi ? Compensation::kNone : Compensation::kMean);
  }
  const std::filesystem::path path = Plan::File(name, model_dir);
  if (path.empty()) return Plan::Full(shape.layers, shape.kv_heads);
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return Plan::FromJson(text, shape, path.string());
}

}  // namespace

Plan Plan::Uniform(int layers, int kv_heads, const HeadPolicy& policy) {
  Check(layers > 0 && kv_heads > 0, "a model has heads");
  Plan plan;
  plan.layers_ = layers;
  plan.kv_heads_ = kv_heads;
  plan.default_policy_ = policy.name;
  plan.policies_ = {policy};
  plan.heads_.assign(static_cast<size_t>(layers) * kv_heads, 0);
  return plan;
}

Plan Plan::Full(int layers, int kv_heads) {
  HeadPolicy policy;
  policy.name = "retrieval";
  return Uniform(layers, kv_heads, policy);
}

Plan Plan::Local(int layers, int kv_heads, Compensation compensation) {
  HeadPolicy policy;
  policy.name = "local";
  policy.sinks = compensation == Compensation::kMean ? 4 : 0;
  policy.compensation = compensation;
  policy.window_tokens = 256;
  return Uniform(layers, kv_heads, policy);
}

Plan Plan::FromPolicies(const PlanShape& shape, const std::vector<HeadPolicy>& heads) {
  Check(shape.layers > 0 && shape.kv_heads > 0, "a model has heads");
  Check(heads.size() == static_cast<size_t>(shape.layers) * shape.kv_heads, "a policy per head");
  struct Entry {
    HeadPolicy policy;
    int heads = 0;
    int index = 0;
  };
  std::map<std::string, Entry> entries;
  for (const HeadPolicy& policy : heads) {
    Entry& entry = entries.try_emplace(policy.name, Entry{policy, 0, 0}).first->second;
    Check(entry.policy == policy, "one name, one policy");
    ++entry.heads;
  }
  Plan plan;
  plan.layers_ = shape.layers;
  plan.kv_heads_ = shape.kv_heads;
  plan.model_fingerprint_ = shape.model_fingerprint;
  int most = 0;
  for (auto& [name, entry] : entries) {
    entry.index = static_cast<int>(plan.policies_.size());
    plan.policies_.push_back(entry.policy);
    if (entry.heads > most) {
      most = entry.heads;
      plan.default_policy_ = name;
    }
  }
  for (const HeadPolicy& policy : heads) plan.heads_.push_back(entries.at(policy.name).index);
  return plan;
}

std::filesystem::path Plan::File(const std::string& name, const std::filesystem::path& model_dir) {
  if (name == "full" || name == "local") return {};
  if (!name.empty()) return name;
  // A link that leads nowhere is a broken model folder, not one without a plan.
  std::filesystem::path path = model_dir / "plan.json";
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::symlink_status(path, error);
  return status.type() == std::filesystem::file_type::not_found ? std::filesystem::path() : path;
}

absl::Status Plan::UseProjections(std::shared_ptr<const Projections> projections) {
  if (projections->digest() != projections_digest_) {
    return absl::InvalidArgumentError(
        absl::StrCat("projections: the plan is for those with sha256 ", projections_digest_,
                     ", these have ", projections->digest()));
  }
  for (int layer = 0; layer < layers_; ++layer) {
    for (int head = 0; head < kv_heads_; ++head) {
      const LaneRank rank = policy(layer, head).rank;
      if (!rank.projected()) continue;
      const HeadProjections* const found = projections->find(layer, head);
      if (found != nullptr && projections->rank(*found) == rank) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          "projections: layer ", layer, " head ", head, ": the plan's rank is ", LaneRankName(rank),
          found == nullptr
              ? ", there is no projection"
              : absl::StrCat(", the projection has ", LaneRankName(projections->rank(*found)))));
    }
  }
  projections_ = std::move(projections);
  return absl::OkStatus();
}

absl::Status Plan::NameProjections(std::string file,
                                   std::shared_ptr<const Projections> projections) {
  projections_file_ = std::move(file);
  projections_digest_ = projections->digest();
  return UseProjections(std::move(projections));
}

absl::StatusOr<Plan> Plan::Load(const std::string& name, const std::filesystem::path& model_dir,
                                const PlanShape& shape) {
  ASSIGN_OR_RETURN(const Plan plan, Unbounded(name, model_dir, shape));
  return plan.BoundedBy(shape.layer_windows);
}

int64_t Plan::SequenceBytes(int64_t length, int64_t prompt_tokens, int head_dim,
                            int element_bytes) const {
  std::vector<int64_t> lane_bytes;
  for (int policy = 0; policy < static_cast<int>(policies_.size()); ++policy) {
    lane_bytes.push_back(LaneBytes(rule(policy, prompt_tokens), length, head_dim, element_bytes));
  }
  int64_t bytes = 0;
  for (int policy : heads_) bytes += lane_bytes[policy];
  return bytes;
}

int64_t Plan::FullSequenceBytes(int64_t length, int head_dim, int element_bytes) const {
  return static_cast<int64_t>(heads_.size()) *
         LaneBytes(LaneRule{}, length, head_dim, element_bytes);
}

}  // namespace headlong
