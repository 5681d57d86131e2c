// Small problems against every placement there is: never refused when one fits, and close to the
// fastest. Here a placement of whole heads is tried with columns and rows divided without a
// remainder, so what is found can only be faster than what exists.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <random>

#include "tests/coordinator/placement_check.h"

namespace headlong {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

// Everything about a problem that the enumeration needs, counted here anew.
class Enumeration {
 public:
  explicit Enumeration(const PlacementProblem& problem) : problem_(problem) {
    const ModelConfig& config = *problem.config;
    const int64_t scratch =
        ScratchBytes(problem, config.kv_heads, config.intermediate_size, config.vocab_size);
    for (const PlacementWorker& worker : problem.workers) {
      left_.push_back(worker.memory_bytes - scratch -
                      (2 * config.layers + 1) * int64_t{config.hidden_size} * 4);
    }
    const int64_t weights = int64_t{config.hidden_size} * config.head_dim *
                            (2 * config.group() + 2) * problem.weight_element_bytes;
    for (int layer = 0; layer < config.layers; ++layer) {
      for (int head = 0; head < config.kv_heads; ++head) {
        const HeadPolicy& policy = problem.plan->policy(layer, head);
        const LaneRule rule = RuleFor(policy, problem.plan->prefill(), problem.plan->block_tokens(),
                                      problem.max_context);
        const int sequences = policy.full() ? problem.required_sequences : problem.max_sequences;
        const int64_t page =
            int64_t{2} * rule.page_tokens() * config.head_dim * problem.cache_element_bytes;
        const int64_t sums = rule.compensates() ? int64_t{8} * config.head_dim : 0;
        bytes_.push_back(weights +
                         sequences * (PagesReserved(rule, problem.max_context) * page + sums));
        read_.push_back(
            static_cast<double>(weights) +
            problem.workload.concurrency *
                static_cast<double>(LaneBytes(rule, problem.max_context, config.head_dim,
                                              problem.cache_element_bytes)));
      }
    }
    times_.assign(config.layers, std::vector<double>(left_.size(), 0));
  }

  // Seconds of the fastest placement of whole heads; nothing when none fits.
  std::optional<double> Fastest() {
    Next(0, 0);
    if (best_ == kInfinite) return std::nullopt;
    return best_;
  }

 private:
  double Speed(size_t i) const { return problem_.workers[i].read_bytes_per_s; }

  void Next(size_t head, double attention) {
    const int heads = problem_.config->kv_heads;
    if (head == bytes_.size()) {
      const double fluid = Fluid();
      best_ = std::min(best_, attention + fluid);
      return;
    }
    const size_t layer = head / heads;
    const bool last = head % heads == static_cast<size_t>(heads) - 1;
    for (size_t i = 0; i < left_.size(); ++i) {
      if (left_[i] < bytes_[head]) continue;
      left_[i] -= bytes_[head];
      times_[layer][i] += read_[head] / Speed(i);
      const double done = last ? *std::max_element(times_[layer].begin(), times_[layer].end()) : 0;
      if (attention + done < best_) Next(head + 1, attention + done);
      times_[layer][i] -= read_[head] / Speed(i);
      left_[i] += bytes_[head];
    }
  }

  // Columns and rows in what is left: at most as fast as any division of them. A row is counted
  // as reading its share of the bytes it holds.
  double Fluid() const {
    const ModelConfig& config = *problem_.config;
    const int64_t column = int64_t{3} * config.hidden_size * problem_.weight_element_bytes;
    const int64_t row = int64_t{config.hidden_size} *
                        (problem_.weight_element_bytes + problem_.embedding_element_bytes);
    if (!UnitsFit(row, column)) return kInfinite;
    const double columns = static_cast<double>(column * config.layers * config.intermediate_size);
    const double rows = static_cast<double>(row * config.vocab_size) / 2;
    double low = 0;
    double high = (columns + rows) / Speed(0) * 1e3;
    for (int i = 0; i < 60; ++i) {
      const double middle = (low + high) / 2;
      double taken = 0;
      for (size_t w = 0; w < left_.size(); ++w) {
        taken += std::min(static_cast<double>(left_[w]), Speed(w) * middle);
      }
      (taken >= columns + rows ? high : low) = middle;
    }
    return high;
  }

  // Whole columns and rows in the memory that is left.
  bool UnitsFit(int64_t row, int64_t column) const {
    std::vector<int64_t> most{0};  // columns by rows placed
    for (int64_t bytes : left_) {
      std::vector<int64_t> next(
          std::min<size_t>(problem_.config->vocab_size, most.size() - 1 + bytes / row) + 1, -1);
      for (size_t before = 0; before < most.size(); ++before) {
        for (int64_t more = 0; more * row <= bytes && before + more < next.size(); ++more) {
          next[before + more] =
              std::max(next[before + more], most[before] + (bytes - more * row) / column);
        }
      }
      most = next;
    }
    return static_cast<int>(most.size()) > problem_.config->vocab_size &&
           most[problem_.config->vocab_size] >=
               int64_t{problem_.config->layers} * problem_.config->intermediate_size;
  }

  const PlacementProblem& problem_;
  std::vector<int64_t> left_;
  std::vector<int64_t> bytes_;              // by head
  std::vector<double> read_;                // by head
  std::vector<std::vector<double>> times_;  // [layer][worker]
  double best_ = kInfinite;
};

struct SmallCase {
  ModelConfig config;
  std::optional<Plan> plan;
  PlacementProblem problem;
};

// Two or three layers of two heads, two or three workers; memory from too little to plenty.
void MakeCase(std::mt19937_64& random, SmallCase& out) {
  const auto pick = [&](int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random() % static_cast<uint64_t>(high - low + 1));
  };
  out.config = SmallModel();
  out.config.layers = static_cast<int>(pick(2, 3));
  out.config.kv_heads = 2;
  out.config.q_heads = 4;
  out.config.hidden_size = 64;
  out.config.intermediate_size = 96;
  out.config.vocab_size = 60;
  std::string heads;
  for (int layer = 0; layer < out.config.layers; ++layer) {
    const int64_t which = pick(0, 3);
    const char* named[] = {"", "0", "1", "0,1"};
    if (which == 0) continue;
    absl::StrAppend(&heads, heads.empty() ? "" : ",", R"({"layer":)", layer, R"(,"heads":[)",
                    named[which], R"(],"policy":"retrieval"})");
  }
  auto plan = Plan::FromJson(
      absl::StrCat(R"({"version":1,"layers":)", out.config.layers,
                   R"(,"kv_heads":2,"policies":{"retrieval":{},)",
                   R"("local":{"sinks":4,"window_tokens":64}},"default":"local","heads":[)", heads,
                   "]}"),
      PlanShape{out.config.layers, 2, ""}, "test");
  ASSERT_TRUE(plan.ok()) << plan.status();
  out.plan = *plan;
  out.problem = SmallProblem(out.config, *out.plan, {});
  out.problem.max_batch_tokens = 8;
  out.problem.max_sequences = static_cast<int>(pick(1, 3));
  out.problem.required_sequences = out.problem.max_sequences;
  out.problem.max_context = pick(64, 4096);
  out.problem.workload.concurrency = out.problem.max_sequences;
  out.problem.level_speeds = false;
  out.problem.link = {0, 0};
  const int64_t workers = pick(2, 3);
  PlacementProblem whole = out.problem;
  const int64_t scratch = ScratchBytes(whole, 2, 96, 60) + (2 * out.config.layers + 1) * 64 * 4;
  int64_t total = 0;  // what one worker would need beside scratch
  for (int64_t bytes = 1 << 30, step = 1 << 29; step > 0; step /= 2) {
    whole.workers = {{"w", "cpu", bytes, 1e9}};
    total = bytes - scratch;
    bytes += Place(whole).ok() ? -step : step;
  }
  const double plenty = 0.98 + static_cast<double>(pick(0, 100)) / 100;
  std::vector<double> weights;
  double sum = 0;
  for (int64_t i = 0; i < workers; ++i) {
    weights.push_back(static_cast<double>(pick(1, 10)));
    sum += weights.back();
  }
  for (int64_t i = 0; i < workers; ++i) {
    const auto memory =
        static_cast<int64_t>(static_cast<double>(total) * plenty * weights[i] / sum) + scratch;
    out.problem.workers.push_back(
        {absl::StrCat("w", i), "cpu", memory, 1e9 * static_cast<double>(pick(1, 8))});
  }
}

// A refusal where every head fits whole would be wrong with stripes and without.
TEST(SmallPlacements, NeverRefusedWhereOneFitsAndCloseToTheFastest) {
  int placed = 0;
  int close = 0;
  int tight = 0;
  double worst = 1;
  for (int seed = 0; seed < 1000; ++seed) {
    std::mt19937_64 random(seed);
    SmallCase made;
    MakeCase(random, made);
    const std::optional<double> fastest = Enumeration(made.problem).Fastest();
    PlacementProblem whole = made.problem;
    whole.stripes = false;
    const auto found = Place(whole);
    const auto striped = Place(made.problem);
    ASSERT_EQ(found.ok(), fastest.has_value()) << "seed " << seed << ": " << found.status();
    if (!fastest) {
      ++tight;
      if (striped.ok()) CheckPlacement(made.problem, *striped);
      continue;
    }
    ASSERT_TRUE(striped.ok()) << "seed " << seed << ": " << striped.status();
    CheckPlacement(whole, *found);
    CheckPlacement(made.problem, *striped);
    ++placed;
    const double ratio = found->step_ms() / 1e3 / *fastest;
    worst = std::max({worst, ratio, striped->step_ms() / 1e3 / *fastest});
    const bool good = ratio <= 1.03 && striped->step_ms() / 1e3 <= *fastest * 1.03;
    if (!good) {
      std::printf("seed %d: whole %.4f striped %.4f of the fastest\n", seed, ratio,
                  striped->step_ms() / 1e3 / *fastest);
    }
    close += good;
    EXPECT_LE(found->lower_bound_ms() / 1e3, *fastest * (1 + 1e-9) + 1e-12) << "seed " << seed;
    if (HasFailure()) return;
  }
  std::printf("%d of %d within 3 %%, worst %.3f, %d refused\n", close, placed, worst, tight);
  EXPECT_GE(close, placed * 0.99);
  EXPECT_GT(placed, 500);
  EXPECT_GT(tight, 50);
}

}  // namespace
}  // namespace headlong
