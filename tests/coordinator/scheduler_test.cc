// Properties of the scheduler over thousands of random runs: a model of the workers applies every
// step and refuses what a worker could not do.
#include "coordinator/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace headlong {
namespace {

constexpr int kLayers = 3;
constexpr int64_t kMaxContext = 300;

Plan MakePlan(const std::string& prefill) {
  auto plan = Plan::FromJson(
      R"({"version":1,"layers":3,"kv_heads":2,"prefill":")" + prefill +
          R"(","policies":{"retrieval":{},"local":{"sinks":4,"window_tokens":32}},)"
          R"("default":"local","heads":[{"layer":1,"heads":[0],"policy":"retrieval"}]})",
      PlanShape{kLayers, 2, ""}, "test");
  EXPECT_TRUE(plan.ok()) << plan.status();
  return *plan;
}

class SchedulerRun {
 public:
  SchedulerRun(const Plan* plan, uint64_t seed)
      : plan_(*plan), random_(seed), limits_(RandomLimits()), scheduler_(limits_) {
    for (int policy = 0; policy < 2; ++policy) {
      const int64_t one = PagesReserved(plan_.rule(policy, kMaxContext), kMaxContext);
      budget_.push_back({policy, {}, one + Below(2 * one)});
    }
    NewEpoch();
  }

  void Run() {
    int to_add = 1 + static_cast<int>(Below(8));
    for (int step = 0; step < 20000; ++step) {
      if (to_add > 0 && Below(3) == 0) {
        Add();
        --to_add;
      }
      if (Below(60) == 0) RemoveAny();
      if (Below(150) == 0) NewEpoch();
      if (Below(100) == 0) MoveToNewEpoch();
      if (testing::Test::HasFatalFailure()) return;
      if (to_add == 0 && logs_.empty()) return CheckEmpty();
      const std::optional<v1::Step> next = scheduler_.Next();
      if (!next) {
        ASSERT_TRUE(logs_.empty()) << "nothing planned though sequences wait";
        continue;
      }
      Apply(*next);
      in_flight_ = {*next};
      while (!in_flight_.empty()) {
        if (testing::Test::HasFatalFailure()) return;
        if (Below(2) == 0) SendAhead();
        if (Below(40) == 0) RemoveAny();
        if (to_add > 0 && Below(20) == 0) {
          Add();
          --to_add;
        }
        if (Below(200) == 0) {  // the steps never come back
          NewEpoch();
          break;
        }
        scheduler_.Finished();
        TakeSamples(in_flight_.front());
        in_flight_.pop_front();
      }
    }
    FAIL() << "the sequences do not finish";
  }

  int preemptions() const { return preemptions_; }
  int moved() const { return moved_; }
  int ahead() const { return ahead_; }

 private:
  struct Log {
    std::vector<TokenId> tokens;
    int64_t prompt = 0;
    size_t target = 0;  // tokens at its end
  };
  struct OnWorker {
    int64_t length = 0;
    int layer = 0;  // exact prefill
    int64_t position = 0;
  };

  int64_t Below(int64_t bound) { return static_cast<int64_t>(random_() % bound); }

  SchedulerLimits RandomLimits() {
    SchedulerLimits limits;
    limits.max_sequences = 1 + static_cast<int>(Below(5));
    limits.max_rows = limits.max_sequences + static_cast<int>(Below(60));
    limits.layers = kLayers;
    limits.exact_prefill = plan_.prefill() == PrefillMode::kExact;
    return limits;
  }

  void Add() {
    const uint64_t id = ++last_id_;
    Log& log = logs_[id];
    log.prompt = 1 + Below(200);
    const int64_t resumed = Below(3) == 0 ? Below(20) : 0;
    for (int64_t i = 0; i < log.prompt + resumed; ++i) log.tokens.push_back(Below(1000));
    log.target = log.tokens.size() + 1 + Below(60);
    v1::SequenceStart start;
    start.set_prompt_tokens(static_cast<uint32_t>(log.prompt));
    scheduler_.Add(id, log.tokens, static_cast<int64_t>(log.target), start);
  }

  void SendAhead() {
    if (in_flight_.size() > 1) return;
    const std::optional<v1::Step> next = scheduler_.NextAhead();
    if (!next) return;
    ASSERT_GT(next->entries_size(), 0);
    ASSERT_EQ(next->started_size(), 0);
    Apply(*next);
    in_flight_.push_back(*next);
    ++ahead_;
  }

  void RemoveAny() {
    if (logs_.empty()) return;
    auto it = logs_.begin();
    std::advance(it, Below(static_cast<int64_t>(logs_.size())));
    scheduler_.Remove(it->first);
    logs_.erase(it);
  }

  void NewEpoch() {
    scheduler_.BeginEpoch(PageBudget(&plan_, budget_));
    workers_.clear();
    EXPECT_EQ(scheduler_.running(), 0);
    EXPECT_EQ(scheduler_.waiting(), static_cast<int>(logs_.size()));
  }

  // Some of the oldest go on with their lanes, one of which is cancelled meanwhile.
  void MoveToNewEpoch() {
    std::vector<uint64_t> kept;
    std::map<uint64_t, OnWorker> workers;
    for (const v1::LiveSequence& live : scheduler_.Live()) {
      if (Below(3) == 0) break;
      const uint64_t id = live.sequence_id();
      ASSERT_EQ(workers_.at(id).length, static_cast<int64_t>(live.committed()));
      ASSERT_EQ(live.prompt_tokens(), logs_.at(id).prompt);
      kept.push_back(id);
      workers[id].length = workers_.at(id).length;
    }
    if (!kept.empty() && Below(4) == 0) {
      scheduler_.Remove(kept.back());
      logs_.erase(kept.back());
    }
    scheduler_.BeginEpoch(PageBudget(&plan_, budget_), kept);
    workers_ = std::move(workers);
    moved_ += static_cast<int>(kept.size());
    ASSERT_EQ(scheduler_.running() + scheduler_.waiting(), static_cast<int>(logs_.size()));
  }

  void Apply(const v1::Step& step) {
    for (uint64_t id : step.ended()) {
      ASSERT_EQ(workers_.erase(id), 1u) << "ended twice or never started: " << id;
      preemptions_ += logs_.contains(id) ? 1 : 0;
    }
    for (const v1::SequenceStart& start : step.started()) {
      ASSERT_TRUE(workers_.emplace(start.sequence_id(), OnWorker()).second);
      ASSERT_EQ(start.prompt_tokens(), logs_.at(start.sequence_id()).prompt);
      fresh_.insert(start.sequence_id());
    }
    int64_t rows = 0;
    bool decodes_over = false;
    std::set<uint64_t> seen;
    for (const v1::BatchEntry& entry : step.entries()) {
      ASSERT_TRUE(seen.insert(entry.sequence_id()).second) << "two entries of one sequence";
      rows += entry.tokens_size();
      ApplyEntry(entry, decodes_over);
      if (testing::Test::HasFatalFailure()) return;
    }
    fresh_.clear();
    ASSERT_LE(rows, limits_.max_rows);
    CheckState();
  }

  void ApplyEntry(const v1::BatchEntry& entry, bool& decodes_over) {
    const uint64_t id = entry.sequence_id();
    ASSERT_TRUE(workers_.contains(id)) << "an entry of a sequence not started";
    OnWorker& state = workers_.at(id);
    const Log& log = logs_.at(id);
    if (entry.sampled_before()) return ApplyAhead(entry, log, state);
    const bool unit = limits_.exact_prefill && state.length < log.prompt;
    const int64_t known = static_cast<int64_t>(log.tokens.size());
    const bool decode = !unit && known - state.length == 1 && !fresh_.contains(id);
    ASSERT_FALSE(decode && decodes_over) << "a decode behind a prompt";
    decodes_over |= !decode;
    ASSERT_GT(entry.tokens_size(), 0);
    const int64_t begin = unit ? state.position : state.length;
    const int64_t end = begin + entry.tokens_size();
    ASSERT_EQ(entry.position(), begin);
    ASSERT_LE(end, unit ? log.prompt : known);
    ASSERT_TRUE(
        std::equal(entry.tokens().begin(), entry.tokens().end(), log.tokens.begin() + begin));
    ASSERT_EQ(entry.layer_end(), unit ? state.layer + 1u : 0u);
    ASSERT_EQ(entry.layer_begin(), unit ? static_cast<uint32_t>(state.layer) : 0u);
    const bool last_layer = !unit || state.layer + 1 == kLayers;
    ASSERT_EQ(entry.sample(), last_layer && end == known);
    if (!unit) {
      state.length = end;
    } else if (end < log.prompt) {
      state.position = end;
    } else {
      state.position = 0;
      if (++state.layer == kLayers) state.length = log.prompt;
    }
  }

  void ApplyAhead(const v1::BatchEntry& entry, const Log& log, OnWorker& state) {
    const v1::Step& before = in_flight_.front();
    ASSERT_TRUE(std::any_of(before.entries().begin(), before.entries().end(), [&](const auto& e) {
      return e.sequence_id() == entry.sequence_id() && e.sample();
    })) << "the step before does not sample it";
    ASSERT_EQ(entry.tokens_size(), 0);
    ASSERT_EQ(entry.layer_end(), 0u);
    ASSERT_TRUE(entry.sample());
    ASSERT_EQ(entry.position(), log.tokens.size());
    ASSERT_EQ(state.length, static_cast<int64_t>(log.tokens.size()));
    ASSERT_LT(log.tokens.size() + 1, log.target) << "more than was asked for";
    ++state.length;
  }

  void CheckState() {
    ASSERT_LE(static_cast<int>(workers_.size()), limits_.max_sequences);
    ASSERT_EQ(static_cast<int>(workers_.size()), scheduler_.running());
    int exact = 0;
    for (const ClassPages& limit : budget_) {
      int64_t pages = 0;
      for (const auto& [id, state] : workers_) {
        const int64_t prompt = logs_.at(id).prompt;
        const bool open = limits_.exact_prefill && state.length < prompt;
        const int64_t length = open ? prompt : state.length;
        pages += PagesHeld(plan_.rule(limit.policy, prompt), length);
        exact += open && limit.policy == 0 ? 1 : 0;
      }
      ASSERT_LE(pages, limit.pages) << "policy " << limit.policy;
    }
    ASSERT_LE(exact, 1) << "two exact prefills at once";
    // First come, first served: who waits came after all who run.
    for (const auto& [id, log] : logs_) {
      if (workers_.contains(id) || workers_.empty()) continue;
      ASSERT_GT(id, workers_.rbegin()->first);
    }
  }

  void TakeSamples(const v1::Step& step) {
    for (const v1::BatchEntry& entry : step.entries()) {
      const auto log = logs_.find(entry.sequence_id());
      if (!entry.sample() || log == logs_.end()) continue;
      const TokenId token = static_cast<TokenId>(Below(1000));
      log->second.tokens.push_back(token);
      if (log->second.tokens.size() >= log->second.target) {
        scheduler_.Remove(log->first);
        logs_.erase(log);
      } else {
        scheduler_.Append(log->first, token);
      }
    }
  }

  void CheckEmpty() {
    if (const auto last = scheduler_.Next()) {
      ASSERT_EQ(last->entries_size(), 0);
      Apply(*last);
      scheduler_.Finished();
    }
    ASSERT_TRUE(workers_.empty()) << "the workers were not told of an end";
    ASSERT_FALSE(scheduler_.Next().has_value());
  }

  const Plan& plan_;
  std::mt19937_64 random_;
  const SchedulerLimits limits_;
  Scheduler scheduler_;
  std::vector<ClassPages> budget_;
  std::map<uint64_t, Log> logs_;
  std::map<uint64_t, OnWorker> workers_;
  std::set<uint64_t> fresh_;  // started in the step being applied
  std::deque<v1::Step> in_flight_;
  uint64_t last_id_ = 0;
  int preemptions_ = 0;
  int moved_ = 0;
  int ahead_ = 0;
};

void RunMany(const std::string& prefill) {
  const Plan plan = MakePlan(prefill);
  int preemptions = 0, moved = 0, ahead = 0;
  for (uint64_t seed = 1; seed <= 2000; ++seed) {
    SCOPED_TRACE(seed);
    SchedulerRun run(&plan, seed);
    run.Run();
    if (testing::Test::HasFailure()) return;
    preemptions += run.preemptions();
    moved += run.moved();
    ahead += run.ahead();
  }
  EXPECT_GT(preemptions, 50) << "the runs never ran short of pages: they prove little";
  EXPECT_GT(moved, 50) << "hardly a sequence went on from its lanes";
  EXPECT_GT(ahead, 10000) << "hardly a step was sent ahead";
}

TEST(SchedulerTest, StreamingRunsKeepTheRules) { RunMany("streaming"); }
TEST(SchedulerTest, ExactRunsKeepTheRules) { RunMany("exact"); }

TEST(SchedulerTest, SuspectsRunOneAtATime) {
  const Plan plan = MakePlan("streaming");
  Scheduler scheduler({/*max_rows=*/64, /*max_sequences=*/4, kLayers, /*exact_prefill=*/false});
  for (uint64_t id = 1; id <= 2; ++id) {
    scheduler.Add(id, {1, 2, 3}, 10, {});
    scheduler.Suspect(id);
  }
  scheduler.BeginEpoch(PageBudget(&plan, {{0, {}, 100}, {1, {}, 100}}));
  ASSERT_TRUE(scheduler.Next().has_value());
  EXPECT_EQ(scheduler.Scheduled(), std::vector<uint64_t>{1});
  EXPECT_FALSE(scheduler.NextAhead().has_value());
  scheduler.Finished();
  scheduler.Append(1, 7);
  scheduler.Clear(1);
  ASSERT_TRUE(scheduler.Next().has_value());
  EXPECT_EQ(scheduler.Scheduled(), (std::vector<uint64_t>{1, 2}));
}

}  // namespace
}  // namespace headlong
