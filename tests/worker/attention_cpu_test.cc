// A layer's attention over real lanes, block tables and kernels against the fp64 reference of the
// definition: full and local heads together, any chunking, several sequences, exact and streaming.
#include "worker/attention_cpu.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "absl/strings/str_join.h"
#include "common/status.h"
#include "tests/support/local_head_reference.h"
#include "tests/support/stored_row.h"
#include "worker/lane_tables.h"

namespace headlong {
namespace {

constexpr int kHeadDim = 32;
constexpr int kGroup = 2;
constexpr int kHeads = 3;  // one retrieval, two local
constexpr int kMaxRows = 64;
constexpr int kColumns = kHeads * (kGroup + 2) * kHeadDim;
constexpr int kOutColumns = kHeads * kGroup * kHeadDim;

struct Case {
  int sinks = 4;
  int window = 32;
  int block = 16;
  bool compensation = true;
  bool exact = false;
  std::string keys = {};  // what they are stored as; empty: as the cache's own type
  std::string values = {};
  int key_rank = 0;  // how many of their numbers are stored; 0: all
  int value_rank = 0;
};

bool Codes(const std::string& type) { return type == "int8" || type == "int4" || type == "fp8"; }

// Fields of a policy: a full head has sinks where it codes.
std::vector<std::string> PolicyFields(const Case& c, bool full) {
  std::vector<std::string> types, ranks, fields;
  if (!c.keys.empty()) types.push_back(absl::StrCat(R"("k":")", c.keys, R"(")"));
  if (!c.values.empty()) types.push_back(absl::StrCat(R"("v":")", c.values, R"(")"));
  if (c.key_rank > 0) ranks.push_back(absl::StrCat(R"("k":)", c.key_rank));
  if (c.value_rank > 0) ranks.push_back(absl::StrCat(R"("v":)", c.value_rank));
  if (!full || Codes(c.keys) || Codes(c.values))
    fields.push_back(absl::StrCat(R"("sinks":)", c.sinks));
  if (!types.empty())
    fields.push_back(absl::StrCat(R"("storage":{)", absl::StrJoin(types, ","), "}"));
  if (!ranks.empty()) fields.push_back(absl::StrCat(R"("rank":{)", absl::StrJoin(ranks, ","), "}"));
  return fields;
}

Plan MakePlan(const Case& c) {
  const bool projected = c.key_rank + c.value_rank > 0;
  const std::string projections =
      absl::StrCat(R"("projections":{"file":"none","sha256":")", std::string(64, '0'), R"("},)");
  const std::string text = absl::StrCat(
      R"({"version":1,"layers":1,"kv_heads":3,"block_tokens":)", c.block, R"(,"prefill":")",
      c.exact ? "exact" : "streaming", R"(",)", projected ? projections : "",
      R"("policies":{"full":{)", absl::StrJoin(PolicyFields(c, true), ","), R"(},"local":{)",
      absl::StrJoin(PolicyFields(c, false), ","), R"(,"window_tokens":)", c.window,
      R"(,"compensation":")", c.compensation ? "mean" : "none",
      R"("}},"default":"local","heads":[{"layer":0,"heads":[1],"policy":"full"}]})");
  auto plan = Plan::FromJson(text, {1, kHeads, ""}, "test");
  EXPECT_TRUE(plan.ok()) << plan.status();
  return *std::move(plan);
}

// q, k and v of one sequence as the fused product gives them: [positions][kColumns].
std::vector<float> RandomRows(std::mt19937& random, int positions) {
  std::normal_distribution<float> normal;
  std::vector<float> rows(static_cast<size_t>(positions) * kColumns);
  for (float& value : rows) value = normal(random);
  return rows;
}

// Columns of one head's part of every row as they are stored: [positions][kHeadDim]. The first
// `plain` positions are stored as `own` where `type` is one of codes. What is behind `rank` numbers
// is not stored: zeros.
std::vector<float> Take(const std::vector<float>& rows, int first, Storage own,
                        const std::string& type = {}, int plain = 0, int rank = 0) {
  std::vector<float> part;
  for (int row = 0; row < static_cast<int>(rows.size()) / kColumns; ++row) {
    const std::span<const float> numbers(&rows[row * kColumns + first], rank > 0 ? rank : kHeadDim);
    const auto stored = reference::StoredRow(numbers, type.empty() || (Codes(type) && row < plain)
                                                          ? std::string(StorageName(own))
                                                          : type);
    part.insert(part.end(), stored.begin(), stored.end());
    part.resize((row + 1) * kHeadDim, 0.0f);
  }
  return part;
}

// One worker with one layer.
class Layer {
 public:
  Layer(const Case& c, Storage storage, int max_context)
      : plan_(MakePlan(c)), classes_(BuildLaneClasses(plan_, Lanes())) {
    AttentionShape shape;
    shape.head_dim = kHeadDim;
    shape.group = kGroup;
    shape.heads = {{0, 1, 2}};
    shape.max_context = max_context;
    shape.max_rows = kMaxRows;
    CacheShape cache;
    cache.plan = &plan_;
    cache.classes = &classes_;
    cache.max_sequences = 3;
    cache.storage = storage;
    for (const LaneClass& lane_class : classes_) {
      cache.class_pages.push_back(static_cast<int32_t>(
          3 * PagesReserved(plan_.rule(lane_class.policy, max_context), max_context)));
    }
    tables_ = std::make_unique<LaneTables>(plan_, classes_, cache.class_pages, 3);
    auto attention = AttentionCpu::Create(shape, cache);
    EXPECT_TRUE(attention.ok()) << attention.status();
    attention_ = *std::move(attention);
  }

  void Start(uint64_t id, int64_t prompt_tokens) {
    auto slot = tables_->Start(id, prompt_tokens);
    ASSERT_TRUE(slot.ok()) << slot.status();
    attention_->ResetSums(*slot);
  }
  void End(uint64_t id) { ASSERT_TRUE(tables_->End(id).ok()); }

  // One batch of chunks; out[i] belongs to chunks[i], [count][kOutColumns].
  std::vector<std::vector<float>> Run(std::vector<Chunk> chunks,
                                      const std::vector<const std::vector<float>*>& rows) {
    Batch batch;
    batch.layer_end = 1;
    std::vector<float> qkv;
    for (size_t i = 0; i < chunks.size(); ++i) {
      chunks[i].first_row = batch.rows();
      batch.tokens.resize(batch.rows() + chunks[i].count);
      const auto begin = rows[i]->begin() + chunks[i].position * kColumns;
      qkv.insert(qkv.end(), begin, begin + int64_t{chunks[i].count} * kColumns);
      EXPECT_TRUE(tables_->Advance(chunks[i], 0).ok());
    }
    batch.chunks = chunks;
    std::vector<float> out(static_cast<size_t>(batch.rows()) * kOutColumns);
    attention_->BeginBatch(batch, *tables_);
    attention_->Run(0, qkv.data(), out.data());
    std::vector<std::vector<float>> parts;
    for (const Chunk& chunk : chunks) {
      const auto begin = out.begin() + int64_t{chunk.first_row} * kOutColumns;
      parts.emplace_back(begin, begin + int64_t{chunk.count} * kOutColumns);
      const bool done = chunk.end() >= tables_->tables(chunk.sequence_id).prompt_tokens;
      if (!chunk.exact || done) tables_->Commit(chunk.sequence_id);
    }
    EXPECT_TRUE(tables_->Balanced());
    return parts;
  }

 private:
  static std::vector<LaneId> Lanes() { return {{0, 0}, {0, 1}, {0, 2}}; }

  Plan plan_;
  std::vector<LaneClass> classes_;
  std::unique_ptr<LaneTables> tables_;
  std::unique_ptr<AttentionCpu> attention_;
};

void ExpectReference(const Case& c, Storage storage, int64_t prompt_tokens,
                     const std::vector<float>& rows, const std::vector<float>& out) {
  const int key_base = kHeads * kGroup * kHeadDim;
  const int value_base = key_base + kHeads * kHeadDim;
  for (int head = 0; head < kHeads; ++head) {
    const auto keys = Take(rows, key_base + head * kHeadDim, storage, c.keys, c.sinks, c.key_rank);
    const auto values =
        Take(rows, value_base + head * kHeadDim, storage, c.values, c.sinks, c.value_rank);
    reference::HeadRule rule;
    rule.retrieval = head == 1;
    rule.sinks = c.sinks;
    rule.window = c.window;
    rule.block = c.block;
    rule.compensation = c.compensation;
    rule.exact = c.exact;
    rule.prompt_tokens = prompt_tokens;
    for (int g = 0; g < kGroup; ++g) {
      const int column = (head * kGroup + g) * kHeadDim;
      const auto queries = Take(rows, column, Storage::kFloat32);
      const auto expected = reference::Attend(rule, {kHeadDim, queries, keys, values});
      double worst = 0;
      for (size_t i = 0; i < expected.out.size(); ++i) {
        const float got = out[i / kHeadDim * kOutColumns + column + i % kHeadDim];
        // A NaN must not pass as a small difference.
        worst = std::isnan(got) ? 1e9 : std::max(worst, std::abs(got - expected.out[i]));
      }
      ASSERT_LT(worst, 2e-5) << "head " << head << ", query head " << g << ", sinks " << c.sinks
                             << ", window " << c.window << ", block " << c.block;
    }
  }
}

Chunk At(uint64_t id, int64_t position, int count, bool exact = false) {
  Chunk chunk;
  chunk.sequence_id = id;
  chunk.position = position;
  chunk.count = count;
  chunk.exact = exact;
  return chunk;
}

class AttentionCpuTest : public ::testing::TestWithParam<Storage> {};

TEST_P(AttentionCpuTest, StreamingEqualsTheDefinitionForAnyChunking) {
  std::mt19937 random(7);
  constexpr int kPositions = 150;
  for (const Case& c : {Case{4, 32, 16},
                        Case{0, 1, 16},
                        Case{16, 16, 16},
                        Case{5, 33, 16},
                        Case{20, 31, 32},
                        Case{4, 64, 64},
                        Case{4, 32, 16, false},
                        Case{40, 48, 16},
                        Case{1, 200, 16},
                        Case{4, 32, 16, true, false, "int8", "int8"},
                        Case{0, 32, 16, true, false, "fp8", "int4"},
                        Case{20, 31, 32, true, false, "int4", "fp8"},
                        Case{5, 33, 16, true, false, "int8", ""},
                        Case{4, 48, 16, false, false, "", "int4"},
                        Case{4, 32, 16, true, false, "", "", 16, 16},
                        Case{4, 32, 16, true, false, "", "", 16},
                        Case{20, 31, 32, true, false, "", "", 0, 16},
                        Case{4, 32, 16, true, false, "int8", "int8", 16, 32},
                        Case{5, 33, 16, true, false, "int4", "fp8", 16, 16},
                        Case{0, 32, 16, true, false, "fp8", "int4", 32, 16},
                        Case{4, 48, 16, false, false, "int8", "", 16, 16},
                        Case{4, 32, 16, true, false, "fp16", "fp16"},
                        Case{5, 33, 16, true, false, "fp16", "bf16"},
                        Case{20, 31, 32, true, false, "", "fp16"},
                        Case{4, 32, 16, true, false, "fp16", "int8"},
                        Case{7, 48, 16, true, false, "int4", "fp16"},
                        Case{4, 32, 16, true, false, "fp32", "fp8", 16, 32},
                        Case{4, 32, 16, true, false, "fp16", "fp16", 16, 16}}) {
    const auto rows = RandomRows(random, kPositions);
    Layer layer(c, GetParam(), 256);
    uint64_t id = 0;
    for (int chunk : {1, 7, 16, 33, 64}) {
      layer.Start(++id, kPositions);
      std::vector<float> out;
      for (int position = 0; position < kPositions; position += chunk) {
        const int count = std::min(chunk, kPositions - position);
        const auto parts = layer.Run({At(id, position, count)}, {&rows});
        out.insert(out.end(), parts[0].begin(), parts[0].end());
      }
      ExpectReference(c, GetParam(), kPositions, rows, out);
      layer.End(id);  // the next one finds used pages and used sums: a replay
    }
  }
}

TEST_P(AttentionCpuTest, SequencesInOneBatchDoNotTouchEachOther) {
  std::mt19937 random(11);
  const Case c{4, 32, 16};
  Layer layer(c, GetParam(), 256);
  std::vector<std::vector<float>> rows;
  std::vector<std::vector<float>> out(3);
  std::vector<int64_t> at(3, 0);
  for (uint64_t id = 0; id < 3; ++id) {
    rows.push_back(RandomRows(random, 120));
    layer.Start(id, 120);
  }
  while (at[0] < 120 || at[1] < 120 || at[2] < 120) {
    std::vector<Chunk> chunks;
    std::vector<const std::vector<float>*> sources;
    for (uint64_t id = 0; id < 3; ++id) {
      const int count = static_cast<int>(std::min<int64_t>(1 + random() % 21, 120 - at[id]));
      if (count == 0) continue;
      chunks.push_back(At(id, at[id], count));
      sources.push_back(&rows[id]);
      at[id] += count;
    }
    const auto parts = layer.Run(chunks, sources);
    for (size_t i = 0; i < chunks.size(); ++i) {
      std::vector<float>& all = out[chunks[i].sequence_id];
      all.insert(all.end(), parts[i].begin(), parts[i].end());
    }
  }
  for (int id = 0; id < 3; ++id) ExpectReference(c, GetParam(), 120, rows[id], out[id]);
}

TEST_P(AttentionCpuTest, ExactPrefillThenDecodeEqualsTheDefinition) {
  std::mt19937 random(13);
  constexpr int kPrompt = 4050;  // above the smallest window of an exact prefill
  constexpr int kPositions = 4100;
  const auto rows = RandomRows(random, kPositions);
  for (const Case& c : {Case{4, 32, 16, true, true}, Case{7, 32, 16, true, true, "int4", "int8"},
                        Case{4, 32, 16, true, true, "int8", "", 16, 16}}) {
    Layer layer(c, GetParam(), 4200);
    layer.Start(1, kPrompt);
    std::vector<float> out;
    int position = 0;
    while (position < kPositions) {
      const bool exact = position < kPrompt;
      const int most = exact ? (position < 10 ? 3 : 61) : 9;
      const int count = std::min(most, (exact ? kPrompt : kPositions) - position);
      const auto parts = layer.Run({At(1, position, count, exact)}, {&rows});
      out.insert(out.end(), parts[0].begin(), parts[0].end());
      position += count;
    }
    ExpectReference(c, GetParam(), kPrompt, rows, out);
  }
}

// Few rows over many keys are computed in parts; more rows, or with one key less, are not.
TEST_P(AttentionCpuTest, DecodeOverALongLaneEqualsTheDefinition) {
  std::mt19937 random(17);
  constexpr int kPositions = 3 * 2048 + 200;
  const Case c{4, 2500, 16};  // the window is longer than a part, too
  const auto rows = RandomRows(random, kPositions);
  Layer layer(c, GetParam(), kPositions);
  layer.Start(1, kPositions);
  std::vector<float> out;
  for (int position = 0; position < kPositions;) {
    const bool prompt = position < kPositions - 250 && position % 2048 < 2000;
    const int count = std::min(prompt ? kMaxRows : 1 + position % 5, kPositions - position);
    const auto parts = layer.Run({At(1, position, count)}, {&rows});
    out.insert(out.end(), parts[0].begin(), parts[0].end());
    position += count;
  }
  ExpectReference(c, GetParam(), kPositions, rows, out);
}

// Beyond fp16's range keys become its largest number, whether they are kept, come from the step or
// go into the sums.
TEST(AttentionCpuRange, LargeKeysSaturateInFloat16) {
  std::mt19937 random(19);
  constexpr int kPositions = 120, kKeys = kHeads * kGroup * kHeadDim;
  auto rows = RandomRows(random, kPositions);
  for (int row = 0; row < kPositions; ++row) {
    for (int query = 0; query < kHeads * kGroup; ++query) {
      rows[row * kColumns + query * kHeadDim] *= 1e-5f;  // logits stay small
    }
    if (row % 5 != 0) continue;
    for (int head = 0; head < kHeads; ++head) {
      rows[row * kColumns + kKeys + head * kHeadDim] = row % 2 == 0 ? 1e6f : -7e4f;
    }
  }
  const Case c{4, 32, 16};
  Layer layer(c, Storage::kFloat16, 256);
  layer.Start(1, kPositions);
  std::vector<float> out;
  for (int position = 0; position < kPositions; position += 15) {
    const auto parts = layer.Run({At(1, position, 15)}, {&rows});
    out.insert(out.end(), parts[0].begin(), parts[0].end());
  }
  ExpectReference(c, Storage::kFloat16, kPositions, rows, out);
}

INSTANTIATE_TEST_SUITE_P(Storages, AttentionCpuTest,
                         ::testing::Values(Storage::kFloat32, Storage::kBfloat16,
                                           Storage::kFloat16),
                         [](const auto& param) { return std::string(StorageName(param.param)); });

}  // namespace
}  // namespace headlong
