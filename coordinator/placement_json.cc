#include "coordinator/placement_json.h"

#include <algorithm>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "cache/coverage.h"
#include "common/json.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr JsonLimits kLimits{.max_depth = 8};

absl::Status Refuse(std::string_view what, const std::string& why) {
  return absl::InvalidArgumentError(absl::StrCat(Av(what), ": ", why));
}

absl::StatusOr<const Json*> List(const Json& object, const char* key, std::string_view what) {
  const auto it = object.find(key);
  if (it != object.end() && it->is_array()) return &*it;
  return Refuse(what, absl::StrCat(key, ": must be a list, ",
                                   it == object.end() ? "is missing" : "is " + JsonExcerpt(*it)));
}

// Two integers 0 <= first <= second <= most.
absl::StatusOr<Part> Pair(const Json& value, int64_t most, std::string_view what) {
  if (value.is_array() && value.size() == 2) {
    const auto first = JsonAsInt(value[0], 0, most);
    const auto second = JsonAsInt(value[1], 0, most);
    if (first && second && *first <= *second) return Part{*first, *second};
  }
  const bool numbers =
      value.is_array() && value.size() == 2 && value[0].is_number() && value[1].is_number();
  const std::string found =
      numbers ? absl::StrCat("[", value[0].dump(), ", ", value[1].dump(), "]") : JsonExcerpt(value);
  return Refuse(
      what, absl::StrCat("must be two integers in ascending order in [0, ", most, "], is ", found));
}

class Reader {
 public:
  Reader(const ModelConfig& config, const Plan& plan, std::string_view source)
      : config_(config), plan_(plan), source_(source), columns_(config.layers, 0) {}

  absl::StatusOr<v1::Placement> Read(const Json& root) {
    RETURN_IF_ERROR(
        JsonOnlyFields(root,
                       {"epoch", "step_ms", "lower_bound_ms", "gap", "workload", "max_context",
                        "sequences", "required_sequences", "largest_context", "largest_concurrency",
                        "attention_ms", "exchange_ms", "mlp_ms", "vocabulary_ms", "fixed_ms",
                        "sums_ms", "striped_heads", "workers"},
                       source_));
    ASSIGN_OR_RETURN(const Json* workers, List(root, "workers", source_));
    v1::Placement placement;
    std::set<std::string> ids;
    for (size_t i = 0; i < workers->size(); ++i) {
      const std::string what = absl::StrCat(source_, ": workers[", i, "]");
      v1::WorkerShare& share = *placement.add_workers();
      RETURN_IF_ERROR(ReadWorker((*workers)[i], what, share));
      if (!ids.insert(share.worker_id()).second) {
        return Refuse(what, absl::StrCat("id: ", share.worker_id(), " stands twice"));
      }
    }
    RETURN_IF_ERROR(Annotate(CheckHeadsCovered(plan_, lanes_), source_));
    for (int layer = 0; layer < config_.layers; ++layer) {
      std::vector<Part> parts;
      for (const v1::WorkerShare& share : placement.workers()) {
        parts.push_back({share.mlp_columns(layer).begin(), share.mlp_columns(layer).end()});
      }
      RETURN_IF_ERROR(CheckCoveredOnce(std::move(parts), config_.intermediate_size,
                                       absl::StrCat(source_, ": layer ", layer, ": MLP columns")));
    }
    std::vector<Part> rows;
    for (const v1::WorkerShare& share : placement.workers()) {
      rows.push_back({share.vocab_rows().begin(), share.vocab_rows().end()});
    }
    RETURN_IF_ERROR(CheckCoveredOnce(std::move(rows), config_.vocab_size,
                                     absl::StrCat(source_, ": vocabulary rows")));
    return placement;
  }

 private:
  absl::Status ReadWorker(const Json& json, const std::string& what, v1::WorkerShare& share) {
    RETURN_IF_ERROR(JsonOnlyFields(
        json,
        {"id", "device", "memory_bytes", "weights_bytes", "cache_bytes", "scratch_bytes", "heads",
         "mlp_columns", "mlp_column_ranges", "vocab_rows", "vocab_row_range", "class_pages",
         "attention_ms", "mlp_ms", "vocabulary_ms"},
        what));
    ASSIGN_OR_RETURN(*share.mutable_worker_id(), JsonString(json, "id", what));
    RETURN_IF_ERROR(ReadHeads(json, what, share));
    RETURN_IF_ERROR(ReadColumns(json, what, share));
    ASSIGN_OR_RETURN(const int64_t rows, JsonInt(json, "vocab_rows", 0, config_.vocab_size, what));
    const auto range = json.find("vocab_row_range");
    return Place(range == json.end() ? nullptr : &*range, rows, config_.vocab_size,
                 absl::StrCat(what, ": vocab_row_range"), rows_, *share.mutable_vocab_rows());
  }

  absl::Status ReadHeads(const Json& json, const std::string& what, v1::WorkerShare& share) {
    ASSIGN_OR_RETURN(const Json* heads, List(json, "heads", what));
    std::vector<HeadStripe> stripes;
    for (size_t i = 0; i < heads->size(); ++i) {
      ASSIGN_OR_RETURN(const HeadStripe stripe,
                       ReadHead((*heads)[i], absl::StrCat(what, ": heads[", i, "]")));
      stripes.push_back(stripe);
    }
    std::sort(stripes.begin(), stripes.end(), [](const HeadStripe& a, const HeadStripe& b) {
      return std::tie(a.id, a.index) < std::tie(b.id, b.index);
    });
    for (const HeadStripe& stripe : stripes) {
      const HeadPolicy& policy = plan_.policy(stripe.id.layer, stripe.id.head);
      v1::HeadShare& head = *share.add_heads();
      head.set_layer(stripe.id.layer);
      head.set_head(stripe.id.head);
      head.set_policy(policy.name);
      head.set_retrieval(policy.full());
      head.set_stripe_index(stripe.index);
      head.set_stripe_count(stripe.count);
    }
    absl::StatusOr<std::vector<HeldLane>> held = JoinStripes(std::move(stripes));
    RETURN_IF_ERROR(Annotate(held.status(), what));
    lanes_.push_back(*std::move(held));
    return absl::OkStatus();
  }

  absl::StatusOr<HeadStripe> ReadHead(const Json& json, const std::string& what) const {
    RETURN_IF_ERROR(JsonOnlyFields(json, {"layer", "head", "role", "policy", "stripe"}, what));
    ASSIGN_OR_RETURN(const int64_t layer, JsonInt(json, "layer", 0, config_.layers - 1, what));
    ASSIGN_OR_RETURN(const int64_t head, JsonInt(json, "head", 0, config_.kv_heads - 1, what));
    HeadStripe stripe{{static_cast<int>(layer), static_cast<int>(head)}, 0, 1};
    const HeadPolicy& policy = plan_.policy(stripe.id.layer, stripe.id.head);
    const std::pair<const char*, std::string> words[] = {
        {"role", policy.full() ? "retrieval" : "local"}, {"policy", policy.name}};
    for (const auto& [key, expected] : words) {
      if (!json.contains(key)) continue;
      ASSIGN_OR_RETURN(const std::string word, JsonString(json, key, what));
      if (word == expected) continue;
      return Refuse(what,
                    absl::StrCat(key, ": the plan in force says ", JsonExcerpt(Json(expected)),
                                 ", not ", JsonExcerpt(Json(word))));
    }
    if (const auto it = json.find("stripe"); it != json.end()) {
      ASSIGN_OR_RETURN(const Part pair, Pair(*it, kMaxStripes, absl::StrCat(what, ": stripe")));
      if (pair.begin == pair.end) {
        return Refuse(what, absl::StrCat("stripe: no stripe ", pair.begin, " of ", pair.end));
      }
      stripe.index = static_cast<int>(pair.begin);
      stripe.count = static_cast<int>(pair.end);
    }
    return stripe;
  }

  absl::Status ReadColumns(const Json& json, const std::string& what, v1::WorkerShare& share) {
    ASSIGN_OR_RETURN(const Json* sizes, List(json, "mlp_columns", what));
    const Json* ranges = nullptr;
    if (json.contains("mlp_column_ranges")) {
      ASSIGN_OR_RETURN(ranges, List(json, "mlp_column_ranges", what));
    }
    const auto layers = static_cast<size_t>(config_.layers);
    if (sizes->size() != layers || (ranges != nullptr && ranges->size() != layers)) {
      return Refuse(
          what, absl::StrCat("mlp_columns: must have one entry for each of ", layers, " layers"));
    }
    for (size_t layer = 0; layer < layers; ++layer) {
      const auto size = JsonAsInt((*sizes)[layer], 0, config_.intermediate_size);
      if (!size) {
        return Refuse(
            what, absl::StrCat("mlp_columns[", layer, "]: must be an integer in [0, ",
                               config_.intermediate_size, "], is ", JsonExcerpt((*sizes)[layer])));
      }
      RETURN_IF_ERROR(Place(ranges == nullptr ? nullptr : &(*ranges)[layer], *size,
                            config_.intermediate_size,
                            absl::StrCat(what, ": mlp_column_ranges[", layer, "]"), columns_[layer],
                            *share.add_mlp_columns()));
    }
    return absl::OkStatus();
  }

  // Where a worker's `size` units are: where `range` says, else after those of the workers before.
  static absl::Status Place(const Json* range, int64_t size, int64_t total, const std::string& what,
                            int64_t& next, v1::Range& out) {
    Part part{next, next + size};
    if (range != nullptr) {
      ASSIGN_OR_RETURN(part, Pair(*range, total, what));
      if (part.end - part.begin != size) {
        return Refuse(what, absl::StrCat("[", part.begin, ", ", part.end, ") are not ", size));
      }
    }
    next += size;
    if (next > total) return Refuse(what, absl::StrCat("more than the ", total, " there are"));
    out.set_begin(static_cast<uint32_t>(part.begin));
    out.set_end(static_cast<uint32_t>(part.end));
    return absl::OkStatus();
  }

  const ModelConfig& config_;
  const Plan& plan_;
  const std::string source_;
  std::vector<std::vector<HeldLane>> lanes_;  // by worker
  std::vector<int64_t> columns_;              // [layer] so many were given out
  int64_t rows_ = 0;
};

}  // namespace

absl::StatusOr<v1::Placement> PlacementFromJson(std::string_view text, const ModelConfig& config,
                                                const Plan& plan, std::string_view source) {
  ASSIGN_OR_RETURN(const Json root, ParseJson(text, source, kLimits));
  return Reader(config, plan, source).Read(root);
}

}  // namespace headlong
