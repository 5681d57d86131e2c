// A plan: which head of a model gets which policy. Depends on the model, not on the cluster.
// Immutable once made; readable from any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cache/plan_shape.h"
#include "cache/policy.h"
#include "cache/projections.h"

namespace headlong {

class Plan {
 public:
  // Every head in full.
  static Plan Full(int layers, int kv_heads);
  // Every head local: sinks 4, window 256, mean compensation, streaming prefill. With kNone, which
  // is what models with ALiBi take, a window of 256 alone.
  static Plan Local(int layers, int kv_heads, Compensation compensation = Compensation::kMean);
  // heads[layer * kv_heads + head]: the policy of each head. The default is the one that most heads
  // have, of equal ones the first by name. The fingerprint is the shape's, the prefill streaming.
  // REQUIRES: a policy for every head; equal names only for equal policies.
  static Plan FromPolicies(const PlanShape& shape, const std::vector<HeadPolicy>& heads);

  // Parses and validates plan.json (DESIGN section 12). INVALID_ARGUMENT names the entry: unknown
  // fields, unknown policies, heads out of range or named twice, another shape than the model's,
  // values out of range. `source` is how errors name the text. Absent fields: block_tokens 16,
  // prefill streaming, no heads; in a policy with a window sinks 0, compensation mean; keys and
  // values of the cache's own type, all of their numbers. A policy without a window has no
  // compensation, and sinks only where it codes: they stay plain.
  static absl::StatusOr<Plan> FromJson(std::string_view text, const PlanShape& shape,
                                       std::string_view source);

  // "full", "local", or a path. Empty: plan.json of the model folder if there is one, else full.
  static absl::StatusOr<Plan> Load(const std::string& name, const std::filesystem::path& model_dir,
                                   const PlanShape& shape);

  // The file that `name` stands for in Load; empty where it is none.
  static std::filesystem::path File(const std::string& name,
                                    const std::filesystem::path& model_dir);

  // The plan as a model with sliding windows allows it (PlanShape::layer_windows): a head of such a
  // layer keeps at most that window, without sinks and compensation token. The name of a policy
  // that this changes gets "@window". A bounded plan stays as it is.
  Plan BoundedBy(const std::vector<int64_t>& layer_windows) const;
  // INVALID_ARGUMENT names a head that has sinks or a compensation token in a layer with a window.
  // Where there is none, attention can leave out exactly what the window hides.
  absl::Status CheckWindows(const std::vector<int64_t>& layer_windows) const;

  // A plan with ranks names a file with projections, relative to its own, and their digest.
  const std::string& projections_file() const {
    return projections_file_;
  }  // empty: no head has a rank
  // INVALID_ARGUMENT unless these are the projections the plan names, and each head that has a rank
  // finds its own among them.
  absl::Status UseProjections(std::shared_ptr<const Projections> projections);
  // Names `projections`, to be found in `file`, and uses them.
  absl::Status NameProjections(std::string file, std::shared_ptr<const Projections> projections);
  const std::shared_ptr<const Projections>& projections() const {
    return projections_;
  }  // null: not read yet

  // Canonical text, one line: FromJson(ToJson()) gives an equal plan.
  std::string ToJson() const;

  int layers() const { return layers_; }
  int kv_heads() const { return kv_heads_; }
  int block_tokens() const { return block_tokens_; }
  PrefillMode prefill() const { return prefill_; }
  const std::vector<HeadPolicy>& policies() const { return policies_; }  // sorted by name

  // Index into policies().
  int policy_index(int layer, int head) const { return heads_[layer * kv_heads_ + head]; }
  const HeadPolicy& policy(int layer, int head) const {
    return policies_[policy_index(layer, head)];
  }
  LaneRule rule(int policy_index, int64_t prompt_tokens) const {
    return RuleFor(policies_[policy_index], prefill_, block_tokens_, prompt_tokens);
  }

  // Bytes of all lanes of a sequence: the sum of LaneBytes over layers x heads.
  int64_t SequenceBytes(int64_t length, int64_t prompt_tokens, int head_dim,
                        int element_bytes) const;
  int64_t FullSequenceBytes(int64_t length, int head_dim, int element_bytes) const;

 private:
  static Plan Uniform(int layers, int kv_heads, const HeadPolicy& policy);

  int layers_ = 0;
  int kv_heads_ = 0;
  int block_tokens_ = kBlockTokens;
  PrefillMode prefill_ = PrefillMode::kStreaming;
  std::string default_policy_;
  std::string model_fingerprint_;
  std::string projections_file_;
  std::string projections_digest_;
  std::shared_ptr<const Projections> projections_;
  std::vector<HeadPolicy> policies_;
  std::vector<int> heads_;  // [layer * kv_heads + head] -> index into policies_
};

}  // namespace headlong
