// The lists that the GPU's kernels work through, against block tables and policies: no GPU needed.
#include "worker/attention_cuda_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>

#include "common/status.h"

namespace headlong {
namespace {

constexpr int kHeads = 4;
constexpr int kMaxContext = 700;
constexpr int kSequences = 4;
constexpr int kMaxRows = 200;

int32_t PageIn(const AttentionStep& step, const PageList& list, int64_t number) {
  const int64_t place =
      number < list.sink_pages ? number : number - list.first_window_page + list.sink_pages;
  return step.page_ids.at(list.begin + place);
}

class AttentionCudaPlanTest : public testing::Test {
 protected:
  int Int(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }

  void MakeTables() {
    const int sinks[] = {0, 1, 4, 16, 20, 40};
    block_ = 16 * Int(1, 3);
    const std::string text = absl::StrCat(
        R"({"version":1,"layers":1,"kv_heads":4,"block_tokens":)", block_,
        R"(,"policies":{"a":{"sinks":)", sinks[Int(0, 5)], R"(,"window_tokens":)", Int(1, 100),
        R"(},"b":{"sinks":)", sinks[Int(0, 5)], R"(,"window_tokens":)", Int(1, 100),
        R"(,"compensation":"none"},"full":{}},"default":"a","heads":[)",
        R"({"layer":0,"heads":[1],"policy":"full"},{"layer":0,"heads":[2],"policy":"b"}]})");
    auto plan = Plan::FromJson(text, {1, kHeads, ""}, "test");
    ASSERT_TRUE(plan.ok()) << plan.status();
    plan_ = std::make_unique<Plan>(*std::move(plan));
    std::vector<LaneClass> classes =
        BuildLaneClasses(*plan_, std::vector<LaneId>{{0, 0}, {0, 1}, {0, 2}, {0, 3}});
    std::vector<int32_t> pages;
    total_pages_ = 0;
    for (const LaneClass& entry : classes) {
      const LaneRule rule = plan_->rule(entry.policy, kMaxContext);
      pages.push_back(static_cast<int32_t>(kSequences * PagesReserved(rule, kMaxContext)));
      total_pages_ += pages.back();
    }
    tables_ = std::make_unique<LaneTables>(*plan_, std::move(classes), pages, kSequences);
    for (int s = 0; s < kSequences; ++s) ASSERT_TRUE(tables_->Start(s, 300).ok());
    at_.assign(kSequences, 0);
    folded_.clear();
  }

  Batch Next() {
    const int sizes[] = {1, 1, 1, 2, 15, 16, 17, 48, 100, 200};
    Batch batch;
    for (int s = 0; s < kSequences; ++s) {
      const int room = std::min<int>(kMaxRows - batch.rows(), kMaxContext - at_[s]);
      if (room <= 0 || Int(0, 4) == 0) continue;
      Chunk chunk;
      chunk.sequence_id = s;
      chunk.first_row = batch.rows();
      chunk.count = std::min(sizes[Int(0, 9)], room);
      chunk.position = at_[s];
      at_[s] += chunk.count;
      batch.tokens.resize(batch.rows() + chunk.count);
      batch.chunks.push_back(chunk);
      EXPECT_TRUE(tables_->Advance(chunk, 0).ok());
    }
    return batch;
  }

  void CheckChunk(const Chunk& chunk, int index);
  void CheckPages(const BlockTable& table, const PageList& list);
  void CheckLists(const Batch& batch, int tile_positions);

  std::mt19937 random_{3};
  int block_ = 16;
  int64_t total_pages_ = 0;
  std::unique_ptr<Plan> plan_;
  std::unique_ptr<LaneTables> tables_;
  std::vector<int64_t> at_;
  std::map<std::pair<uint64_t, size_t>, int64_t> folded_;  // [sequence, class] -> folded until
  AttentionStep step_;
};

void AttentionCudaPlanTest::CheckPages(const BlockTable& table, const PageList& list) {
  for (int64_t p = 0; p < table.committed(); ++p) {
    if (!table.Holds(p)) continue;
    ASSERT_EQ(PageIn(step_, list, p / table.rule().page_tokens()), table.PageOf(p));
  }
}

void AttentionCudaPlanTest::CheckChunk(const Chunk& chunk, int index) {
  const SequenceTables& tables = tables_->tables(chunk.sequence_id);
  std::set<int32_t> keeps;
  for (const BlockJob& job : step_.keeps) {
    if (job.chunk != index) continue;
    EXPECT_TRUE(keeps.insert(job.block).second);
  }
  for (size_t c = 0; c < tables.after.size(); ++c) {
    const ChunkLanes& lanes = step_.lanes[index * tables.after.size() + c];
    const LaneRule& rule = tables.after[c].rule();
    CheckPages(tables.after[c], lanes.write);
    EXPECT_EQ(lanes.full, rule.full);
    EXPECT_EQ(lanes.fresh_begin, rule.full ? chunk.end() : chunk.position);
    if (rule.full) continue;
    CheckPages(tables.before[c], lanes.read);
    for (int64_t p = chunk.position; p < chunk.end(); ++p) {
      const bool kept = p < lanes.keep_sinks || p >= lanes.keep_begin;
      ASSERT_EQ(kept, tables.after[c].Holds(p));
      ASSERT_TRUE(!kept || keeps.contains(static_cast<int32_t>(p / kBlockTokens)));
    }
    if (!rule.compensates()) continue;
    // Over all steps everything between the sinks and lo is folded once, in whole blocks.
    const auto entry = folded_.try_emplace({chunk.sequence_id, c}, rule.sinks).first;
    const int64_t lo = WindowStart(rule, chunk.end() - 1);
    EXPECT_EQ(lanes.fold_begin, entry->second);
    EXPECT_EQ(lanes.fold_blocks,
              lo > entry->second ? lo / kBlockTokens - entry->second / kBlockTokens : 0);
    entry->second = std::max(entry->second, lo);
  }
}

void AttentionCudaPlanTest::CheckLists(const Batch& batch, int tile_positions) {
  std::vector<int> covered(batch.rows(), 0);
  int64_t last = kMaxContext;
  for (const PrefillTile& tile : step_.tiles) {
    const Chunk& chunk = batch.chunks.at(tile.chunk);
    EXPECT_GT(chunk.count, 1);
    EXPECT_LE(chunk.position + tile.first, last);  // most work first
    last = chunk.position + tile.first;
    const int end = std::min(tile.first + tile_positions, chunk.count);
    for (int row = tile.first; row < end; ++row) ++covered[chunk.first_row + row];
  }
  for (const int32_t index : step_.decode_rows) {
    EXPECT_EQ(batch.chunks.at(index).count, 1);
    ++covered[batch.chunks[index].first_row];
  }
  EXPECT_EQ(std::count(covered.begin(), covered.end(), 1), batch.rows());
  StepLimits limits;
  limits.rows = kMaxRows;
  limits.chunks = kSequences;
  limits.block_tokens = block_;
  EXPECT_LE(std::ssize(step_.folds), MaxBlockJobs(limits));
  EXPECT_LE(std::ssize(step_.keeps), MaxBlockJobs(limits));
  EXPECT_LE(step_.tokens, MaxTokens(limits));
  EXPECT_LE(std::ssize(step_.page_ids), 2 * total_pages_);
}

TEST_F(AttentionCudaPlanTest, ListsSayWhatTablesAndPoliciesSay) {
  for (int trial = 0; trial < 60; ++trial) {
    MakeTables();
    for (int step = 0; step < 30; ++step) {
      const Batch batch = Next();
      const int tile_positions = Int(1, 64);
      PlanAttention(batch, *tables_, tile_positions, step_);
      CheckLists(batch, tile_positions);
      for (size_t i = 0; i < batch.chunks.size(); ++i) {
        CheckChunk(batch.chunks[i], static_cast<int>(i));
        tables_->Commit(batch.chunks[i].sequence_id);
      }
      if (HasFailure()) return;
    }
  }
}

// What is widened has room of its own and holds all that its chunk sees; the rest stays as it was.
TEST_F(AttentionCudaPlanTest, WidenedLanesLieSideBySideAndHoldWhatQueriesSee) {
  int widened = 0, left = 0;
  for (int trial = 0; trial < 60; ++trial) {
    MakeTables();
    std::vector<DeviceClass> classes(tables_->classes().size());
    for (DeviceClass& lane_class : classes) lane_class.widens = Int(0, 3) > 0;
    for (int step = 0; step < 30; ++step) {
      const Batch batch = Next();
      PlanAttention(batch, *tables_, 8, step_);
      const AttentionStep before = step_;
      const WideningLimits limits{Int(0, 600), Int(2, 40)};
      PlanWidening(classes, limits, step_);
      std::vector<int32_t> taken(classes.size(), 0);
      for (size_t i = 0; i < step_.lanes.size(); ++i) {
        const ChunkLanes &lanes = step_.lanes[i], &plain = before.lanes[i];
        const int32_t count = lanes.end - lanes.position;
        if (!lanes.widened) {
          left += classes[i % classes.size()].widens && count >= limits.positions;
          continue;
        }
        ++widened;
        const ChunkLanes& to = step_.widened[i];
        ASSERT_TRUE(classes[i % classes.size()].widens && to.widened && !plain.widened);
        ASSERT_GE(count, limits.positions);
        const int32_t lo = (plain.position + 1 - plain.window) / plain.block_tokens;
        const bool gap = lo * plain.block_tokens > plain.sinks;
        EXPECT_LE(to.fresh_begin, gap ? lo * plain.block_tokens : 0);
        EXPECT_EQ(to.fresh_begin % 16, 0);
        EXPECT_EQ(to.fresh_first + to.fresh_begin, taken[i % classes.size()]);
        taken[i % classes.size()] += to.end - to.fresh_begin;
        EXPECT_LE(taken[i % classes.size()], limits.rows);
        EXPECT_LE(to.end - to.fresh_begin, step_.widened_rows);
        EXPECT_EQ(to.first_row, plain.first_row);
        EXPECT_FALSE(to.full || to.exact);
        ASSERT_LT(to.read.begin, std::ssize(step_.page_ids));
        EXPECT_EQ(step_.page_ids[to.read.begin], plain.slot);
      }
      for (const Chunk& chunk : batch.chunks) tables_->Commit(chunk.sequence_id);
      if (HasFailure()) return;
    }
  }
  EXPECT_GT(widened, 100);
  EXPECT_GT(left, 100);
}

// Lists of decode rows have a length that depends on the number of rows and on nothing else.
TEST_F(AttentionCudaPlanTest, PaddedListsHoldWhatTheyHeldAndThenNothing) {
  MakeTables();
  const size_t classes = tables_->classes().size();
  for (int position = 0; position < 300; ++position) {
    Batch batch;
    for (int s = 0; s < 3; ++s) {
      batch.chunks.push_back({static_cast<uint64_t>(s), s, 1, position, true, false});
      batch.tokens.push_back(0);
      ASSERT_TRUE(tables_->Advance(batch.chunks[s], 0).ok());
    }
    PlanAttention(batch, *tables_, 8, step_);
    const AttentionStep plain = step_;
    ASSERT_TRUE(PadDecodeStep(4, block_, step_));
    EXPECT_EQ(step_.positions.size(), 4u);
    EXPECT_EQ(step_.row_chunks, (std::vector<int32_t>{0, 1, 2, kNoChunk}));
    EXPECT_EQ(step_.lanes.size(), 4 * classes);
    EXPECT_EQ(step_.keeps.size(), 4u);
    EXPECT_EQ(step_.folds.size(), plain.folds.empty() ? 0 : 4u * block_ / 16);
    EXPECT_EQ(step_.summed.size(), plain.folds.empty() ? 0 : 4u);
    for (size_t i = 0; i < step_.folds.size(); ++i) {
      EXPECT_EQ(step_.folds[i].chunk, i < plain.folds.size() ? plain.folds[i].chunk : kNoChunk);
    }
    for (size_t i = 0; i < step_.keeps.size(); ++i) {
      EXPECT_EQ(step_.keeps[i].chunk, i < plain.keeps.size() ? plain.keeps[i].chunk : kNoChunk);
    }
    for (const Chunk& chunk : batch.chunks) tables_->Commit(chunk.sequence_id);
  }
}

// A layer's items moved to another layer are those that the other layer would have been given.
TEST_F(AttentionCudaPlanTest, ItemsMoveBetweenLayersOfAKind) {
  MakeTables();
  static std::byte pages[3];
  static float sums[1];
  static std::byte sinks[1];
  static const int32_t ids[1] = {};
  std::vector<DeviceClass> classes(3);
  for (int c = 0; c < 3; ++c) {
    classes[c].pages = &pages[c];
    classes[c].sums = c == 0 ? sums : nullptr;
    classes[c].page_stride = 1 << 20;
    classes[c].lanes = 7;
    classes[c].page_shift = c == 2 ? 6 : 4;
    LaneFormat format = PlainFormat(Storage::kBfloat16, 64);
    if (c == 1) format = {{Storage::kInt8, 48}, {Storage::kInt4, 64}, Storage::kBfloat16, 4};
    SetFormat(format, 64, classes[c]);
    classes[c].launch = c == 1 ? 1 : 0;
    if (c == 1) classes[c].sinks = sinks;
  }
  EXPECT_TRUE(classes[0].plain);
  EXPECT_FALSE(classes[1].plain);
  EXPECT_EQ(classes[1].key_bytes, 16 * (48 + 2));
  EXPECT_EQ(classes[1].lane_bytes, 16 * (48 + 2) + 16 * (32 + 4));
  EXPECT_EQ(classes[1].sink_bytes, 4 * (48 + 64) * 2);
  const std::vector<HeadPlace> from = {{0, 0}, {2, 1}, {1, 0}, {0, 1}};
  const std::vector<HeadPlace> to = {{0, 6}, {2, 4}, {1, 3}, {0, 5}};
  for (int step = 0; step < 20; ++step) {
    const Batch batch = Next();
    PlanAttention(batch, *tables_, 8, step_);
    const LayerHeads first{classes, from, 2, 64, 0}, second{classes, to, 2, 64, 0};
    for (const int launch : {0, 1}) {
      std::vector<DecodeLane> lanes;
      DecodePlan moved, planned;
      DecodeLanes(step_, first, launch, ids, lanes);
      EXPECT_EQ(HeadsOf(first, launch), launch == 0 ? 3 : 1);
      EXPECT_EQ(lanes.size(), step_.decode_rows.size() * HeadsOf(first, launch));
      PlanDecode(lanes, 5, moved);
      const std::vector<LaneShift> shifts = LaneShifts(first, second);
      for (DecodeItem& item : moved.items) {
        const LaneShift& shift = shifts[item.lane.query / 2 % 4];
        item.lane.pages += shift.page_bytes;
        if (item.lane.dropped_sums != nullptr) item.lane.dropped_sums += shift.sums;
        if (item.lane.sinks != nullptr) item.lane.sinks += shift.sink_bytes;
      }
      DecodeLanes(step_, second, launch, ids, lanes);
      PlanDecode(lanes, 5, planned);
      ASSERT_EQ(moved.items.size(), planned.items.size());
      for (size_t i = 0; i < moved.items.size(); ++i) {
        EXPECT_EQ(moved.items[i].lane.pages, planned.items[i].lane.pages);
        EXPECT_EQ(moved.items[i].lane.dropped_sums, planned.items[i].lane.dropped_sums);
        EXPECT_EQ(moved.items[i].lane.sinks, planned.items[i].lane.sinks);
        EXPECT_EQ(moved.items[i].lane.query, planned.items[i].lane.query);
        EXPECT_EQ(moved.items[i].lane.slots, planned.items[i].lane.slots);
      }
    }
    for (const Chunk& chunk : batch.chunks) tables_->Commit(chunk.sequence_id);
  }
}

}  // namespace
}  // namespace headlong
