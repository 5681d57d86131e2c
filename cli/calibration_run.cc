#include "cli/calibration_run.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "coordinator/calibration/layer_rule.h"
#include "coordinator/calibration/paper_rule.h"
#include "coordinator/calibration/plan_steps.h"

namespace headlong {
namespace {

constexpr int kChoosing = 0;  // numbers of the prober's sets
constexpr int kJudging = 1;
constexpr double kRounding = 1e-9;  // of shares
constexpr double kScoring = 6;      // pieces of work
constexpr double kJudgement = 16;
constexpr size_t kDearest = 4;  // heads of which all pairs are measured

HeadPolicy Retrieval() { return {"retrieval", 0, std::nullopt, Compensation::kMean}; }

// The choices that are measured for every head: each window, and each kind of codes.
std::vector<HeadCost> ChoicesOf(const CalibrationOptions& options) {
  std::vector<HeadCost> choices;
  for (const bool compensation : options.compensations) {
    for (const int64_t window : options.windows) {
      choices.push_back({0, 0, options.sinks, window, compensation, 0, {}});
    }
  }
  for (const CodeChoice& codes : options.codes) {
    choices.push_back({0, 0, options.sinks, 0, true, 0, codes.storage, {}, codes.rotation});
  }
  for (const LaneRank& rank : options.ranks) choices.push_back({0, 0, 0, 0, true, 0, {}, rank});
  return choices;
}

HeadPolicy PolicyOf(const HeadCost& choice) {
  HeadPolicy policy{"chosen",       choice.sinks, std::nullopt,   Compensation::kMean,
                    choice.storage, choice.rank,  choice.rotation};
  if (choice.window_tokens > 0) policy.window_tokens = choice.window_tokens;
  if (!choice.compensation) policy.compensation = Compensation::kNone;
  return policy;
}

std::string Described(const HeadCost& choice) {
  if (choice.rank.projected()) return absl::StrCat("at rank ", LaneRankName(choice.rank));
  if (choice.storage.named()) return absl::StrCat("as ", LaneStorageName(choice.storage));
  return absl::StrCat("within ", choice.window_tokens, " tokens",
                      choice.compensation ? "" : ", without compensation");
}

std::vector<HeadPolicy> PoliciesOf(const Plan& plan) {
  std::vector<HeadPolicy> policies;
  for (int layer = 0; layer < plan.layers(); ++layer) {
    for (int head = 0; head < plan.kv_heads(); ++head) policies.push_back(plan.policy(layer, head));
  }
  return policies;
}

bool Measured(const Evidence& evidence, const HeadCost& choice) {
  return std::any_of(evidence.costs.begin(), evidence.costs.end(), [&](const HeadCost& cost) {
    HeadCost same = choice;
    same.kl = cost.kl;
    return same == cost;
  });
}

// Pairs of heads of which one keeps everything and the other does not, and what is lost by the
// second most: whom to exchange first. By index layer * kv_heads + head.
std::vector<std::pair<size_t, size_t>> Exchanges(const Evidence& evidence,
                                                 const std::vector<HeadPolicy>& policies) {
  const auto cost_of = [&](size_t index) {
    double most = 0;
    for (const HeadCost& cost : evidence.costs) {
      const size_t at = static_cast<size_t>(cost.layer * evidence.shape.kv_heads + cost.head);
      if (at == index) most = std::max(most, cost.kl);
    }
    return most;
  };
  std::vector<std::pair<size_t, size_t>> pairs;
  for (size_t full = 0; full < policies.size(); ++full) {
    for (size_t local = 0; local < policies.size(); ++local) {
      if (policies[full].full() && !policies[local].full()) pairs.emplace_back(full, local);
    }
  }
  std::stable_sort(pairs.begin(), pairs.end(), [&](const auto& a, const auto& b) {
    return cost_of(a.second) - cost_of(a.first) > cost_of(b.second) - cost_of(b.first);
  });
  return pairs;
}

std::vector<std::vector<HeadCost>> GroupsOf(std::vector<HeadCost> costs, int count, uint64_t seed) {
  std::vector<std::vector<HeadCost>> groups;
  std::stable_sort(costs.begin(), costs.end(),
                   [](const HeadCost& a, const HeadCost& b) { return a.kl > b.kl; });
  const auto room = [&] { return std::ssize(groups) < count; };
  for (size_t a = 0; a < std::min(kDearest, costs.size()); ++a) {
    for (size_t b = 0; b < a && room(); ++b) groups.push_back({costs[b], costs[a]});
  }
  std::mt19937_64 random(seed);
  for (size_t size = 2; room() && costs.size() >= 2; size = size == 16 ? 2 : 2 * size) {
    for (size_t i = 0; i < std::min(size, costs.size()); ++i) {
      std::swap(costs[i], costs[i + random() % (costs.size() - i)]);
    }
    const auto end = costs.begin() + std::min(std::ssize(costs), static_cast<ptrdiff_t>(size));
    groups.emplace_back(costs.begin(), end);
  }
  return groups;
}

}  // namespace

absl::StatusOr<Plan> CalibrationRun::Run(const OnProgress& progress, const OnEvidence& save,
                                         const std::function<bool()>& stop) {
  progress_ = progress;
  save_ = save;
  stop_ = stop;
  const double heads = evidence_.shape.layers * evidence_.shape.kv_heads;
  total_ = kScoring + heads * static_cast<double>(ChoicesOf(options_).size()) + options_.groups +
           options_.refinements + options_.steps + kJudgement;
  RETURN_IF_ERROR(MeasureScores());
  done_ = kScoring;
  if (!options_.ranks.empty()) {
    RETURN_IF_ERROR(Step("spectra of keys and values"));
    ASSIGN_OR_RETURN(spectra_, prober_.Spectra(texts_.choosing, evidence_.head_dim));
  }
  RETURN_IF_ERROR(MeasureCosts());
  RETURN_IF_ERROR(MeasureGroups());
  ASSIGN_OR_RETURN(Plan chosen, Choose(options_.share));
  ASSIGN_OR_RETURN(chosen, Refine(std::move(chosen), options_.share));

  done_ = total_ - kJudgement;
  evidence_.plans.clear();
  RETURN_IF_ERROR(Step("the full cache on other text"));
  RETURN_IF_ERROR(prober_.Keep(kJudging, texts_.judging));
  done_ += 6;
  const Plan paper = PaperRulePlan(evidence_.scores, PaperRule());
  RETURN_IF_ERROR(Judge("calibrated", chosen));
  RETURN_IF_ERROR(Judge("paper's rule", paper));
  RETURN_IF_ERROR(JudgeLayers(paper));
  const double share =
      static_cast<double>(evidence_.BytesOf(paper)) / static_cast<double>(evidence_.FullBytes());
  const absl::StatusOr<Plan> least = Choose(share + kRounding);
  if (!least.ok()) return chosen;  // codes or ranks alone do not come down to those bytes
  ASSIGN_OR_RETURN(const Plan equal, Refine(*least, share));
  RETURN_IF_ERROR(Judge("calibrated, the paper's bytes", equal));
  return chosen;
}

absl::Status CalibrationRun::MeasureScores() {
  RETURN_IF_ERROR(Step("attention on repeated ids"));
  HeadScores& scores = evidence_.scores;
  if (scores.echo.empty()) {
    ASSIGN_OR_RETURN(scores, prober_.Scores(options_.repeats));
    RETURN_IF_ERROR(save_(evidence_));
  }
  if (!scores.needle.empty() || texts_.copying.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(Step("attention on needles"));
  RETURN_IF_ERROR(prober_.AddNeedleScores(texts_.copying, scores));
  return save_(evidence_);
}

absl::Status CalibrationRun::Step(const std::string& what) {
  if (stop_()) return absl::CancelledError("interrupted");
  progress_(std::min(done_, total_), total_, what);
  return absl::OkStatus();
}

void CalibrationRun::DropOthers() {
  const std::vector<HeadCost> choices = ChoicesOf(options_);
  std::erase_if(evidence_.costs, [&](const HeadCost& cost) {
    return std::none_of(choices.begin(), choices.end(), [&](HeadCost choice) {
      choice.layer = cost.layer;
      choice.head = cost.head;
      choice.kl = cost.kl;
      return choice == cost;
    });
  });
}

absl::Status CalibrationRun::MeasureCosts() {
  const PlanShape& shape = evidence_.shape;
  DropOthers();
  RETURN_IF_ERROR(Step("the full cache"));
  RETURN_IF_ERROR(prober_.Keep(kChoosing, texts_.choosing));
  const auto heads = static_cast<size_t>(shape.layers) * static_cast<size_t>(shape.kv_heads);
  for (HeadCost choice : ChoicesOf(options_)) {
    for (size_t index = 0; index < heads; ++index) {
      choice.layer = static_cast<int>(index) / shape.kv_heads;
      choice.head = static_cast<int>(index) % shape.kv_heads;
      ++done_;
      if (Measured(evidence_, choice)) continue;
      RETURN_IF_ERROR(Step(
          absl::StrCat("layer ", choice.layer, ", head ", choice.head, " ", Described(choice))));
      std::vector<HeadPolicy> policies(heads, Retrieval());
      policies[index] = PolicyOf(choice);
      ASSIGN_OR_RETURN(choice.kl, Measure(Plan::FromPolicies(shape, policies)));
      evidence_.costs.push_back(choice);
      RETURN_IF_ERROR(save_(evidence_));
    }
  }
  return absl::OkStatus();
}

// All pairs of the dearest heads, then groups of 2, 4, 8 and 16 that are drawn by the seed.
absl::Status CalibrationRun::MeasureGroups() {
  std::vector<HeadCost> costs;  // of the narrowest window
  for (const HeadCost& cost : evidence_.costs) {
    if (cost.window_tokens == 0 || !cost.compensation) continue;
    if (!costs.empty() && cost.window_tokens < costs.front().window_tokens) costs.clear();
    if (costs.empty() || cost.window_tokens == costs.front().window_tokens) costs.push_back(cost);
  }
  const auto groups = GroupsOf(std::move(costs), options_.groups, options_.seed);
  evidence_.groups.clear();
  for (const std::vector<HeadCost>& group : groups) {
    ++done_;
    RETURN_IF_ERROR(Step(absl::StrCat(group.size(), " heads together")));
    std::vector<HeadPolicy> policies =
        PoliciesOf(Plan::Full(evidence_.shape.layers, evidence_.shape.kv_heads));
    GroupCost& found = evidence_.groups.emplace_back();
    found.window_tokens = group.front().window_tokens;
    for (const HeadCost& cost : group) {
      found.heads.emplace_back(cost.layer, cost.head);
      found.sum += cost.kl;
      policies[static_cast<size_t>(cost.layer * evidence_.shape.kv_heads + cost.head)] =
          PolicyOf(cost);
    }
    ASSIGN_OR_RETURN(found.kl, Measure(Plan::FromPolicies(evidence_.shape, policies)));
  }
  return absl::OkStatus();
}

absl::StatusOr<Plan> CalibrationRun::Choose(double share) const {
  Budget budget = evidence_.budget();
  if (share <= 0) return MaxKlPlan(evidence_.shape, evidence_.costs, budget, options_.max_kl);
  budget.share = share;
  return BudgetPlan(evidence_.shape, evidence_.costs, budget);
}

// The plan with the projections of its heads that have a rank.
absl::StatusOr<Plan> CalibrationRun::Complete(Plan plan) {
  Projections::Heads heads;
  for (int layer = 0; layer < plan.layers(); ++layer) {
    for (int head = 0; head < plan.kv_heads(); ++head) {
      const LaneRank rank = plan.policy(layer, head).rank;
      if (!rank.projected()) continue;
      const auto at = static_cast<size_t>(layer * plan.kv_heads() + head);
      const std::tuple key(at, rank.keys, rank.values);
      auto fitted = fitted_.find(key);
      if (fitted == fitted_.end()) {
        fitted = fitted_.emplace(key, FitProjections(spectra_[at], rank, evidence_.head_dim)).first;
      }
      heads[{layer, head}] = fitted->second;
    }
  }
  if (heads.empty()) return plan;
  ASSIGN_OR_RETURN(auto projections, Projections::Create(evidence_.head_dim, std::move(heads)));
  RETURN_IF_ERROR(plan.NameProjections(options_.projections_file, std::move(projections)));
  return plan;
}

absl::StatusOr<double> CalibrationRun::Measure(const Plan& plan) {
  ASSIGN_OR_RETURN(const Plan complete, Complete(plan));
  return prober_.Measure(kChoosing, texts_.choosing, complete);
}

absl::StatusOr<Plan> CalibrationRun::Refine(Plan plan, double share) {
  RETURN_IF_ERROR(Step("the whole plan"));
  ASSIGN_OR_RETURN(double kl, Measure(plan));
  ASSIGN_OR_RETURN(plan, Exchange(std::move(plan), kl));
  ASSIGN_OR_RETURN(plan, TakeSteps(std::move(plan), kl, share));
  return Complete(std::move(plan));
}

// Costs of single heads do not see that one head can stand in for another. So the whole plan is
// measured, and again with two heads' policies exchanged, as long as that makes it better.
absl::StatusOr<Plan> CalibrationRun::Exchange(Plan plan, double& kl) {
  int tries = options_.refinements;
  bool better = true;
  while (better && tries > 0) {
    better = false;
    const std::vector<HeadPolicy> policies = PoliciesOf(plan);
    for (const auto& [full, local] : Exchanges(evidence_, policies)) {
      if (better || tries-- <= 0) break;
      ++done_;
      RETURN_IF_ERROR(Step("exchanges between heads"));
      std::vector<HeadPolicy> exchanged = policies;
      std::swap(exchanged[full], exchanged[local]);
      Plan other = Plan::FromPolicies(evidence_.shape, exchanged);
      ASSIGN_OR_RETURN(const double other_kl, Measure(other));
      if (other_kl >= kl) continue;
      better = true;
      kl = other_kl;
      plan = std::move(other);
    }
  }
  return plan;
}

// Steps along one or two heads' dials, as long as one makes the whole plan better: costs that were
// added up are only about right.
absl::StatusOr<Plan> CalibrationRun::TakeSteps(Plan plan, double kl, double share) {
  const int64_t most_bytes =
      std::max(evidence_.BytesOf(plan),
               static_cast<int64_t>(share * static_cast<double>(evidence_.FullBytes())));
  int tries = options_.steps;
  bool better = true;
  while (better && tries > 0) {
    better = false;
    ASSIGN_OR_RETURN(
        const std::vector<Plan> others,
        PlanSteps(evidence_.shape, evidence_.costs, evidence_.budget(), plan, most_bytes, tries));
    for (const Plan& other : others) {
      if (better || tries-- <= 0) break;
      ++done_;
      RETURN_IF_ERROR(Step("steps of heads' choices"));
      ASSIGN_OR_RETURN(const double other_kl, Measure(other));
      if (other_kl >= kl) continue;
      better = true;
      kl = other_kl;
      plan = other;
    }
  }
  return plan;
}

absl::Status CalibrationRun::Judge(const std::string& name, const Plan& plan) {
  RETURN_IF_ERROR(Step(name));
  ASSIGN_OR_RETURN(const double kl, prober_.Measure(kJudging, texts_.judging, plan));
  evidence_.plans.push_back({name, plan, kl, {}});
  done_ += 2;
  return absl::OkStatus();
}

// Windows that differ by layer instead of by head, at the bytes of the paper's rule: beside its
// heads, and without any head that keeps everything.
absl::Status CalibrationRun::JudgeLayers(const Plan& paper) {
  const std::vector<double>& similarity = evidence_.scores.similarity;
  if (similarity.empty()) return absl::OkStatus();
  const Budget budget = evidence_.budget();
  const auto moved = [&](const Plan& plan) {
    return WithWindowsByLayer(evidence_.shape, plan, similarity, budget, LayerRule());
  };
  RETURN_IF_ERROR(Judge("paper's rule, windows by layer", moved(paper)));
  const Plan local =
      LocalWithin(evidence_.shape, budget, PaperRule().sinks, evidence_.BytesOf(paper));
  return Judge("windows by layer alone", moved(local));
}

}  // namespace headlong
