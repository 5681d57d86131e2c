// Attention on a GPU against its CPU twin and against the fp64 reference of the definition: full
// and local heads together, any chunking, several sequences, decode rows and prompts in one batch.
// Skipped, with a word, where there is no GPU.
#include "worker/attention_cuda.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <ostream>
#include <span>
#include <string>

#include "cache/widened_rows.h"
#include "common/status.h"
#include "tests/support/local_head_reference.h"
#include "tests/support/stored_row.h"
#include "tests/worker/cuda/attention_twins.h"
#include "worker/kernels/device_array.h"

namespace headlong {
namespace {

constexpr int kHeadDims[] = {64, 80, 96, 128, 256};

// What lanes store; as TwinsCase has it.
struct Stored {
  Storage own = Storage::kFloat32;
  std::string keys = "", values = "";

  void Set(TwinsCase& c) const {
    c.storage = own;
    c.key_codes = keys;
    c.value_codes = values;
  }
};

void PrintTo(const Stored& stored, std::ostream* out) {
  *out << StorageName(stored.own) << ' ' << stored.keys << '/' << stored.values;
}

// Of outputs. With bf16 or fp16 the GPU rounds queries and weights, the CPU neither. Rotation
// differs in the last bit, by which a code is now and then one step beside.
double Tolerance(const TwinsCase& c) {
  const bool fp32 = c.storage == Storage::kFloat32;
  if (c.storage == Storage::kFloat16) return 2e-3;  // three bits more than bf16
  if (c.key_codes.empty() && c.value_codes.empty()) return fp32 ? 1e-5 : 1.2e-2;
  if (c.key_codes == "int4") return fp32 ? 2e-2 : 3e-2;
  return fp32 ? 4e-3 : 1.5e-2;
}

class AttentionCudaTest : public testing::TestWithParam<Stored> {
 protected:
  void SetUp() override {
    if (!cuda::HasDevice()) GTEST_SKIP() << "no CUDA device: GPU kernels are compiled, not run";
  }
  int Int(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }

  // Chunks of a size that is often near a border, at most `most`.
  int ChunkSize(int most) {
    const int sizes[] = {1, 1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 100, 127, 128, 129, 200};
    return std::min(sizes[Int(0, 15)], most);
  }

  // Prompts in chunks of any size, then decode steps; all sequences in every batch.
  void Compare(const TwinsCase& c, int longest, int decode_steps) {
    Twins twins(c);
    std::vector<SequenceRows> rows;
    std::vector<int64_t> prompts, at(c.sequences, 0);
    for (int s = 0; s < c.sequences; ++s) {
      prompts.push_back(Int(1, longest));
      rows.push_back(twins.Rows(random_, prompts[s] + decode_steps));
      twins.Start(s, prompts[s]);
    }
    for (bool more = true; more;) {
      std::vector<Chunk> chunks;
      std::vector<const SequenceRows*> sources;
      int room = c.max_rows;
      for (int s = 0; s < c.sequences && room > 0; ++s) {
        const int64_t left = prompts[s] - at[s];
        int count = left > 0 ? std::min<int>(left, ChunkSize(room)) : 1;
        if (at[s] + count > prompts[s] + decode_steps) continue;
        chunks.push_back(ChunkAt(s, at[s], count));
        sources.push_back(&rows[s]);
        at[s] += count;
        room -= count;
      }
      more = !chunks.empty();
      if (!more) break;
      twins.Run(chunks, sources);
      ASSERT_LE(twins.difference(), Tolerance(c)) << Describe(c) << " at " << at[0];
    }
    // A replay finds used pages and used sums.
    twins.End(0);
    twins.Start(100, prompts[0]);
    const int count = static_cast<int>(std::min<int64_t>(prompts[0], c.max_rows));
    twins.Run({ChunkAt(100, 0, count)}, {&rows[0]});
    EXPECT_LE(twins.difference(), Tolerance(c)) << Describe(c) << " replayed";
  }

  std::mt19937_64 random_{42};
};

class AttentionCudaTestOfRange : public testing::Test {
 protected:
  void SetUp() override {
    if (!cuda::HasDevice()) GTEST_SKIP() << "no CUDA device: GPU kernels are compiled, not run";
  }
};

void ExpectDefinition(const TwinsCase& c, const Twins& twins, const SequenceRows& rows,
                      int64_t prompt_tokens, const std::vector<float>& out) {
  const int d = c.head_dim, columns = twins.columns();
  const std::vector<float> rotated = twins.Rotated(rows, 0);
  // Of plain numbers, or of codes behind the first `sinks` positions.
  const auto take = [&](int first, const std::string& codes) {
    std::vector<float> part;
    for (size_t row = 0; row < rotated.size(); row += columns) {
      const bool plain = codes.empty() || std::ssize(part) < int64_t{c.sinks} * d;
      const auto stored = reference::StoredRow(std::span(rotated).subspan(row + first, d),
                                               plain ? StorageName(c.storage) : codes);
      part.insert(part.end(), stored.begin(), stored.end());
    }
    return part;
  };
  const std::vector<int>& full = c.full_heads[0];
  for (int head = 0; head < c.heads; ++head) {
    const bool coded = head % 2 == 0 || std::ranges::count(full, head) > 0;
    const auto keys = take((c.heads * c.group + head) * d, coded ? c.key_codes : "");
    const auto values = take((c.heads * (c.group + 1) + head) * d, coded ? c.value_codes : "");
    reference::HeadRule rule;
    rule.retrieval = std::find(full.begin(), full.end(), head) != full.end();
    rule.sinks = c.sinks;
    rule.window = c.window + (head % 2 == 0 ? 0 : 5);
    rule.block = c.block;
    rule.compensation = head % 2 == 0 && c.compensation;
    rule.exact = c.exact;
    rule.prompt_tokens = prompt_tokens;
    for (int g = 0; g < c.group; ++g) {
      const int column = (head * c.group + g) * d;
      const auto queries = take(column, "");
      const auto expected = reference::Attend(rule, {d, queries, keys, values});
      double worst = 0, largest = 1;
      for (size_t i = 0; i < expected.out.size(); ++i) {
        const double got = out[i / d * twins.out_columns() + column + i % d];
        largest = std::max(largest, std::abs(expected.out[i]));
        worst = std::isnan(got) ? 1e9 : std::max(worst, std::abs(got - expected.out[i]));
      }
      const bool codes = !c.key_codes.empty() || !c.value_codes.empty();
      ASSERT_LE(worst / largest, codes                            ? Tolerance(c)
                                 : c.storage == Storage::kFloat32 ? 2e-5
                                 : c.storage == Storage::kFloat16 ? 1.5e-3
                                                                  : 8e-3)
          << Describe(c) << " head " << head << " query head " << g;
    }
  }
}

TEST_P(AttentionCudaTest, EqualsTheDefinitionForAnyChunking) {
  constexpr int kPositions = 150;
  const int rules[][4] = {{4, 32, 16, 1}, {0, 1, 16, 1},   {16, 16, 16, 1},
                          {5, 33, 16, 1}, {20, 31, 32, 1}, {4, 64, 64, 1},
                          {4, 32, 16, 0}, {40, 48, 16, 1}, {1, 200, 16, 1}};
  for (const auto& [sinks, window, block, mean] : rules) {
    TwinsCase c;
    GetParam().Set(c);
    c.sinks = sinks;
    c.window = window;
    c.block = block;
    c.compensation = mean != 0;
    Twins twins(c);
    const SequenceRows rows = twins.Rows(random_, kPositions);
    for (const int chunk : {1, 7, 16, 33, 64, 150}) {
      twins.Start(chunk, kPositions);
      std::vector<float> out;
      for (int position = 0; position < kPositions; position += chunk) {
        twins.Run({ChunkAt(chunk, position, std::min(chunk, kPositions - position))}, {&rows});
        out.insert(out.end(), twins.out(0)[0].begin(), twins.out(0)[0].end());
      }
      ExpectDefinition(c, twins, rows, kPositions, out);
      twins.End(chunk);
    }
  }
}

TEST_P(AttentionCudaTest, EqualsTheCpuForEveryShape) {
  for (const int head_dim : kHeadDims) {
    for (int group = 1; group <= 16; ++group) {
      TwinsCase c;
      GetParam().Set(c);
      c.head_dim = head_dim;
      c.group = group;
      c.sequences = 2;
      Compare(c, 200, 3);
      if (HasFatalFailure()) return;
    }
  }
}

// Layers 0 and 3 have heads of the same classes in other lanes, layer 2 has no full head.
TEST_P(AttentionCudaTest, EqualsTheCpuForRandomPlans) {
  const int sinks[] = {0, 1, 4, 16, 20, 40}, windows[] = {1, 16, 33, 64, 256};
  for (int trial = 0; trial < 40; ++trial) {
    TwinsCase c;
    GetParam().Set(c);
    c.head_dim = kHeadDims[Int(0, 4)];
    c.group = Int(1, 8);
    c.heads = 4;
    c.layers = 4;
    c.full_heads = {{1, 2}, {0}, {}, {1, 2}};
    c.sinks = sinks[Int(0, 5)];
    c.window = windows[Int(0, 4)];
    c.block = 16 * Int(1, 3);
    c.compensation = Int(0, 4) > 0;
    c.rope_scale = trial % 3 == 0 ? 1.25f : 1;
    c.sequences = Int(1, 5);
    Compare(c, trial % 8 == 0 ? 900 : 300, 20);
    if (HasFatalFailure()) return;
  }
}

TEST_P(AttentionCudaTest, AWindowOfTheModelIsExact) {
  for (int trial = 0; trial < 12; ++trial) {
    TwinsCase c;
    GetParam().Set(c);
    c.group = Int(1, 4);
    c.model_window = Int(1, 120);
    c.window = Int(1, 150);
    Compare(c, 400, 20);
    if (HasFatalFailure()) return;
  }
}

// Above the smallest window of an exact prefill, so that something leaves.
TEST_P(AttentionCudaTest, ExactPrefillThenDecodeEqualsTheCpu) {
  constexpr int kPrompt = 4050, kPositions = 4090, kChunk = 700;
  for (const int64_t model_window : {0, 300}) {
    TwinsCase c;
    GetParam().Set(c);
    c.exact = true;
    c.layers = 2;
    c.full_heads = {{1}, {0}};
    c.model_window = model_window;
    c.max_rows = kChunk;
    c.max_context = 4200;
    Twins twins(c);
    const SequenceRows rows = twins.Rows(random_, kPositions);
    twins.Start(1, kPrompt);
    for (int layer = 0; layer < c.layers; ++layer) {
      for (int position = 0; position < kPrompt; position += kChunk) {
        const int count = std::min(kChunk, kPrompt - position);
        twins.Run({ChunkAt(1, position, count, true)}, {&rows}, layer);
        ASSERT_LE(twins.difference(), Tolerance(c)) << Describe(c) << " at " << position;
      }
    }
    for (int position = kPrompt; position < kPositions;) {
      const int count = std::min(position % 3 == 0 ? 9 : 1, kPositions - position);
      twins.Run({ChunkAt(1, position, count)}, {&rows});
      ASSERT_LE(twins.difference(), Tolerance(c)) << Describe(c) << " at " << position;
      position += count;
    }
  }
}

TEST_P(AttentionCudaTest, ExactPrefillEqualsTheDefinition) {
  constexpr int kPrompt = 4020, kPositions = 4040, kChunk = 2010;
  TwinsCase c;
  GetParam().Set(c);
  c.exact = true;
  c.group = 1;
  c.max_rows = kChunk;
  c.max_context = 4200;
  Twins twins(c);
  const SequenceRows rows = twins.Rows(random_, kPositions);
  twins.Start(1, kPrompt);
  std::vector<float> out;
  for (int position = 0; position < kPositions;) {
    const bool exact = position < kPrompt;
    const int count = exact ? kChunk : 1;
    twins.Run({ChunkAt(1, position, count, exact)}, {&rows}, exact ? 0 : -1);
    out.insert(out.end(), twins.out(0)[0].begin(), twins.out(0)[0].end());
    position += count;
  }
  ExpectDefinition(c, twins, rows, kPrompt, out);
}

// So long a context that rows widened from codes have room for two heads at once.
TEST_P(AttentionCudaTest, WidenedHeadsTakeTurns) {
  TwinsCase c;
  GetParam().Set(c);
  c.head_dim = 128;
  c.group = 8;
  c.heads = 5;
  c.full_heads = {{0, 1, 3}};
  c.max_context = 600000;
  ASSERT_EQ(WidenedRoom::For(c.max_context, c.heads, c.head_dim).heads, 2);
  Compare(c, 400, 3);
}

TEST_P(AttentionCudaTest, LongPromptsEqualTheCpu) {
  TwinsCase c;
  GetParam().Set(c);
  c.head_dim = 128;
  c.group = 4;
  c.window = 256;
  c.sequences = 2;
  c.max_rows = 1024;
  c.max_context = 8192;
  Twins twins(c);
  const SequenceRows rows = twins.Rows(random_, 5000);
  twins.Start(1, 5000);
  for (int position = 0; position < 5000; position += 1000) {
    twins.Run({ChunkAt(1, position, 1000)}, {&rows});
    ASSERT_LE(twins.difference(), Tolerance(c)) << position;
  }
}

TEST_P(AttentionCudaTest, WhatCannotBeIsRefusedWithTheNumbers) {
  const Plan plan = Plan::Full(1, 1);
  const std::vector<LaneClass> classes = BuildLaneClasses(plan, std::vector<LaneId>{{0, 0}});
  CacheShape cache{&plan, &classes, {1 << 30}, 1, GetParam().own};
  AttentionShape shape;
  shape.head_dim = 64;
  shape.heads = {{0}};
  shape.inverse_frequencies.assign(32, 1.0f);
  shape.max_context = 128;
  shape.max_rows = 8;
  auto refused = AttentionCuda::Create(shape, cache, nullptr);
  EXPECT_TRUE(absl::IsResourceExhausted(refused.status())) << refused.status();
  cache.class_pages = {2};
  EXPECT_TRUE(AttentionCuda::Create(shape, cache, nullptr).ok());
  shape.group = 17;
  EXPECT_TRUE(absl::IsInvalidArgument(AttentionCuda::Create(shape, cache, nullptr).status()));
  shape.group = 1;
  shape.max_rows = 1 << 16;
  EXPECT_TRUE(absl::IsInvalidArgument(AttentionCuda::Create(shape, cache, nullptr).status()));
  shape.max_rows = 8;
  shape.head_dim = 72;
  EXPECT_TRUE(absl::IsInvalidArgument(AttentionCuda::Create(shape, cache, nullptr).status()));
}

// Beyond fp16's range keys become its largest number, as on CPUs. Queries are small where keys are
// large, so that logits are not.
TEST_F(AttentionCudaTestOfRange, LargeKeysSaturateInFloat16) {
  std::mt19937_64 random(5);
  for (const int head_dim : kHeadDims) {
    TwinsCase c;
    c.head_dim = head_dim;
    c.storage = Storage::kFloat16;
    Twins twins(c);
    constexpr int kPositions = 130;
    SequenceRows rows = twins.Rows(random, kPositions);
    for (size_t at = 0; at < rows[0].size(); at += twins.columns()) {
      float* const row = &rows[0][at];
      for (int query = 0; query < c.heads * c.group; ++query) {
        row[query * head_dim] *= 1e-5f;  // the pair that is rotated together
        row[query * head_dim + head_dim / 2] *= 1e-5f;
      }
      for (int head = 0; head < c.heads; ++head) {
        row[(c.heads * c.group + head) * head_dim] = at / twins.columns() % 2 == 0 ? 1e6f : -7e4f;
      }
    }
    twins.Start(1, kPositions - 5);
    for (int position = 0; position < kPositions;) {
      const int count = position < kPositions - 5 ? 25 : 1;  // chunks of the prompt, then decode
      twins.Run({ChunkAt(1, position, count)}, {&rows});
      EXPECT_LE(twins.difference(), 5e-3) << Describe(c) << " at " << position;
      position += count;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Storages, AttentionCudaTest,
                         testing::Values(Stored{Storage::kFloat32}, Stored{Storage::kBfloat16},
                                         Stored{Storage::kFloat16}));

constexpr Storage kOwn16 = Storage::kBfloat16;
INSTANTIATE_TEST_SUITE_P(Codes, AttentionCudaTest,
                         testing::Values(Stored{kOwn16, "int8", "int8"},
                                         Stored{kOwn16, "fp8", "fp8"},
                                         Stored{kOwn16, "int4", "int4"},
                                         Stored{kOwn16, "int8", "int4"}, Stored{kOwn16, "", "fp8"},
                                         Stored{kOwn16, "int4", ""},
                                         Stored{Storage::kFloat32, "int8", "int8"},
                                         Stored{Storage::kFloat32, "int4", "fp8"}));

}  // namespace
}  // namespace headlong
