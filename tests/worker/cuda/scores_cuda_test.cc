// What is measured of prompts on a GPU against its CPU twins: attention on earlier copies, the
// largest attention, second moments. Skipped, with a word, where there is no GPU.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "tests/worker/cuda/attention_twins.h"
#include "worker/kernels/device_array.h"
#include "worker/kernels/op_cpu.h"
#include "worker/spectra_cpu.h"
#include "worker/spectra_cuda.h"

namespace headlong {
namespace {

constexpr int kPeriod = 37, kTokens = 190;

class ScoresCuda : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!cuda::HasDevice()) GTEST_SKIP() << "no CUDA device: GPU kernels are compiled, not run";
  }

  // Repeats `rows` after every kPeriod positions, with some noise.
  SequenceRows Repeated(const Twins& twins, const TwinsCase& c) {
    SequenceRows rows = twins.Rows(random_, kTokens);
    for (std::vector<float>& layer : rows) {
      for (size_t i = kPeriod * twins.columns(); i < layer.size(); ++i) {
        layer[i] = 0.9f * layer[i - kPeriod * twins.columns()] + 0.1f * layer[i];
      }
      for (float& x : layer) x *= 1.5f;  // attention that is not even
    }
    EXPECT_EQ(rows.size(), static_cast<size_t>(c.layers));
    return rows;
  }

  // Half of the pairs are where a query head of the first layer's full head has its largest logit
  // by far, in fp64; the other half are beside that. `expected`: how many it has.
  std::vector<CopiedPosition> Copies(const Twins& twins, const TwinsCase& c,
                                     const SequenceRows& rows, int query_head, int* expected) {
    const std::vector<float> rotated = twins.Rotated(rows, 0);
    const int d = c.head_dim, keys = (c.heads * c.group + query_head / c.group) * d;
    std::vector<CopiedPosition> copies;
    *expected = 0;
    for (int m = 50; m < kTokens; m += 3) {
      double best = -1e30, second = -1e30;
      int where = 0;
      for (int j = 0; j <= m; ++j) {
        double dot = 0;
        for (int i = 0; i < d; ++i) {
          dot += double{rotated[m * twins.columns() + query_head * d + i]} *
                 rotated[j * twins.columns() + keys + i];
        }
        if (dot > best) {
          second = best;
          best = dot;
          where = j;
        } else {
          second = std::max(second, dot);
        }
      }
      if (best - second < 0.1 * best) continue;  // rounding could tell otherwise
      const bool hit = copies.size() % 2 == 0;
      *expected += hit;
      copies.push_back({m, hit ? where : (where > 0 ? where - 1 : where + 1)});
    }
    return copies;
  }

  void Compare(const TwinsCase& c, double tolerance) {
    Twins twins(c);
    const SequenceRows rows = Repeated(twins, c), other = twins.Rows(random_, kTokens);
    const int query_head = c.full_heads[0][0] * c.group + c.group - 1;
    int expected = 0;
    const std::vector<CopiedPosition> copies = Copies(twins, c, rows, query_head, &expected);
    twins.Start(1, kTokens);
    twins.Start(2, kTokens);
    const int ends[] = {5, 6, 100, 101, 164, kTokens};  // rows alone, too
    for (int begin = 0; const int end : ends) {
      Chunk quiet = ChunkAt(1, begin, end - begin), asks = ChunkAt(2, begin, end - begin);
      asks.period = kPeriod;
      asks.first_scored = kPeriod;
      for (const CopiedPosition& copy : copies) {
        if (copy.row >= begin && copy.row < end) asks.copies.push_back(copy);
      }
      twins.Run({quiet, asks}, {&other, &rows});
      begin = end;
    }
    const auto [on_cpu, on_gpu] = twins.TakeSums();
    double most = 0;
    for (const AttentionSums& cpu : on_cpu) {
      const bool full = cpu.query_head / c.group == c.full_heads[cpu.layer][0];
      for (const AttentionSums& gpu : on_gpu) {
        if (gpu.layer != cpu.layer || gpu.query_head != cpu.query_head) continue;
        EXPECT_NEAR(gpu.echo, cpu.echo, tolerance) << Describe(c);
        EXPECT_NEAR(gpu.induction, cpu.induction, tolerance) << Describe(c);
        if (cpu.layer == 0 && cpu.query_head == query_head) {
          EXPECT_EQ(cpu.copied, expected);
          EXPECT_EQ(gpu.copied, expected) << Describe(c);
        }
        if (!full) {
          EXPECT_EQ(gpu.echo + gpu.induction + gpu.copied, 0) << "a local head";
        }
        most = std::max(most, cpu.echo);
      }
    }
    EXPECT_EQ(on_gpu.size(), on_cpu.size());
    EXPECT_GT(expected, 5) << Describe(c);
    EXPECT_GT(most, 2) << "the case is worth comparing";
    EXPECT_TRUE(twins.TakeSums().second.empty());
  }

  std::mt19937_64 random_{3};
};

TEST_F(ScoresCuda, EqualTheCpus) {
  for (const int head_dim : {64, 80, 96, 128, 256}) {
    for (const int group : {1, 4}) {
      TwinsCase c;
      c.head_dim = head_dim;
      c.group = group;
      c.layers = 2;
      c.full_heads = {{1}, {2}};
      Compare(c, 2e-3);
      c.storage = Storage::kBfloat16;  // of sums over 150 rows; the GPU rounds queries
      Compare(c, 0.5);
      c.storage = Storage::kFloat16;
      Compare(c, 0.1);
    }
  }
}

TEST_F(ScoresCuda, OfCodesAndTheirPlainFirstTokens) {
  TwinsCase c;
  c.key_codes = "int8";
  c.value_codes = "int4";
  Compare(c, 0.1);
}

TEST_F(ScoresCuda, MomentsEqualTheCpus) {
  for (const auto& [d, group] : {std::pair(64, 2), {80, 1}, {96, 3}, {128, 4}, {256, 8}}) {
    AttentionShape shape;
    shape.head_dim = d;
    shape.group = group;
    shape.heads = {{}, {1, 3}};
    const int columns = 2 * (group + 2) * d;
    SpectraCpu cpu(shape);
    SpectraCuda gpu(shape);
    std::normal_distribution<float> normal;
    for (const int rows : {70, 1, 129}) {
      std::vector<float> qkv((rows + 3) * columns);
      std::vector<int32_t> positions(rows + 3);
      std::vector<float> cos_sin(positions.size() * d), frequencies(d / 2);
      for (float& x : qkv) x = normal(random_);
      for (size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<int32_t>(i);
      for (int i = 0; i < d / 2; ++i) frequencies[i] = std::pow(0.9f, static_cast<float>(i));
      cpu::RopeTable(positions.data(), rows + 3, frequencies.data(), d / 2, cos_sin.data());
      Chunk other, asks;
      other.count = 3;
      asks.first_row = 3;
      asks.count = rows;
      asks.spectra = true;
      Batch batch;
      batch.chunks = {other, asks};
      gpu.BeginBatch(batch);
      const cuda::DeviceArray<float> device_qkv{std::span<const float>(qkv)};
      const cuda::DeviceArray<float> table{std::span<const float>(cos_sin)};
      gpu.Add(1, device_qkv.get(), table.get(), nullptr);
      cpu::ApplyRope(qkv.data(), columns, rows + 3, 2 * (group + 1), d / 2, cos_sin.data());
      cpu.Add(1, qkv.data(), batch);
    }
    const std::vector<HeadMoments> expected = cpu.Take(), found = gpu.Take();
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) {
      EXPECT_EQ(found[i].layer, 1);
      EXPECT_EQ(found[i].head, expected[i].head);
      for (const auto side : {&HeadMoments::queries, &HeadMoments::keys, &HeadMoments::values}) {
        const auto &a = expected[i].*side, &b = found[i].*side;
        ASSERT_EQ(a.size(), b.size());
        for (size_t j = 0; j < a.size(); ++j) ASSERT_NEAR(a[j], b[j], 2e-2) << d << ' ' << j;
      }
    }
    EXPECT_TRUE(gpu.Take().empty());
  }
}

}  // namespace
}  // namespace headlong
