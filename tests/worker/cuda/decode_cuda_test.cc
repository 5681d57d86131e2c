// Decode attention on a GPU against softmax in fp64. Skipped, with a word, where there is no GPU.
#include "worker/kernels/decode_cuda.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/worker/cuda/decode_batch.h"
#include "worker/kernels/device_array.h"

namespace headlong::cuda {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr ElementType kTypes[] = {ElementType::kFloat32, ElementType::kBfloat16,
                                  ElementType::kFloat16};

class DecodeCuda : public testing::Test {
 protected:
  void SetUp() override {
    if (!HasDevice()) GTEST_SKIP() << "no CUDA device: GPU kernels are compiled, not run";
  }
};

TEST_F(DecodeCuda, EqualsSoftmaxInFp64ForEveryShape) {
  Batches batches(1);
  for (const ElementType type : kTypes) {
    for (const int head_dim : {64, 80, 96, 128, 256}) {
      for (int group = 1; group <= kMaxGroup; ++group) {
        const TestBatch batch = batches.Make({type, head_dim, group}, batches.Int(1, 5), 2500);
        const int ctas = batches.Int(1, 12);
        EXPECT_EQ(Difference(Reference(batch), RunDecode(batch, ctas), type), "")
            << Describe(batch, ctas);
      }
    }
  }
}

TEST_F(DecodeCuda, EqualsSoftmaxInFp64ForRandomBatches) {
  Batches batches(2);
  const int head_dims[] = {64, 80, 96, 128, 256};
  for (int trial = 0; trial < 300; ++trial) {
    const ElementType type = kTypes[batches.Int(0, 2)];
    const TestBatch batch =
        batches.Make({type, head_dims[batches.Int(0, 4)], batches.Int(1, 8)},
                     batches.Int(1, trial % 10 == 0 ? 60 : 8), trial % 20 == 0 ? 9000 : 1200);
    const int ctas = batches.Int(0, 1) == 0 ? 0 : batches.Int(1, 30);
    ASSERT_EQ(Difference(Reference(batch), RunDecode(batch, ctas), type), "")
        << "trial " << trial << ": " << Describe(batch, ctas);
  }
}

// More items for one CTA than it stages in shared memory.
TEST_F(DecodeCuda, OneCtaDoesEverything) {
  Batches batches(3);
  for (const ElementType type : kTypes) {
    const TestBatch batch = batches.Make({type, 64, 4}, 100, 100);
    EXPECT_EQ(Difference(Reference(batch), RunDecode(batch, 1), type), "");
  }
}

TEST_F(DecodeCuda, HoweverCutTheResultIsTheSame) {
  Batches batches(4);
  for (const ElementType type : kTypes) {
    TestBatch batch = batches.Make({type, 128, 4}, 3, 100);
    batch.lanes.push_back(batches.Lane(batch.shape, FullRule(), 5000));
    const DecodeResult whole = RunDecode(batch, 1);
    for (const int ctas : {2, 3, 7, 64, 264, 1000}) {
      EXPECT_EQ(Difference(whole, RunDecode(batch, ctas), type), "") << ctas;
    }
  }
}

TEST_F(DecodeCuda, ALaneDoesNotDependOnTheOthers) {
  Batches batches(5);
  for (const ElementType type : kTypes) {
    TestBatch batch = batches.Make({type, 96, 3}, 6, 1500);
    const DecodeResult before = RunDecode(batch, 5);
    for (size_t i = 1; i < batch.lanes.size(); ++i) {
      for (float& x : batch.lanes[i].q) x = 1000;
      for (float& x : batch.lanes[i].values) x = NAN;
    }
    const DecodeResult after = RunDecode(batch, 5);
    for (int i = 0; i < 3 * 96; ++i) ASSERT_EQ(before.out[i], after.out[i]);
    for (int i = 0; i < 3; ++i) ASSERT_EQ(before.lse[i], after.lse[i]);
  }
}

TEST_F(DecodeCuda, ALaneWithoutTokensIsZeroWithLseMinusInfinity) {
  Batches batches(6);
  for (const ElementType type : kTypes) {
    TestBatch batch = batches.Make({type, 64, 5}, 2, 100);
    batch.lanes.push_back(batches.Lane(batch.shape, FullRule(), 0));
    batch.lanes.push_back(batches.Lane(batch.shape, FullRule(), 1));
    const DecodeResult got = RunDecode(batch, 0);
    ASSERT_EQ(got.lse.size(), 20u);
    for (int i = 10; i < 15; ++i) EXPECT_EQ(got.lse[i], -kInfinity);
    for (int i = 10 * 64; i < 15 * 64; ++i) EXPECT_EQ(got.out[i], 0);
    for (int i = 0; i < 64; ++i) EXPECT_EQ(got.out[15 * 64 + i], batch.lanes[3].values[i]);
  }
}

// N_d equal keys and the compensation token for them are the same attention.
TEST_F(DecodeCuda, CompensationTokenStandsForEqualKeys) {
  Batches batches(7);
  for (const ElementType type : kTypes) {
    for (const int length : {21, 36, 37, 200, 1500, 5000}) {
      TestBatch local;
      local.shape = {type, 128, 4};
      local.scale = 1 / std::sqrt(128.0f);
      local.lanes = {batches.Lane(local.shape, LocalRule(4, 16), length)};
      TestLane& lane = local.lanes[0];
      const int64_t kept = std::max<int64_t>(4, length / 16 * 16 - 16);
      for (int64_t p = 5; p < kept; ++p) {
        std::copy_n(&lane.keys[4 * 128], 128, &lane.keys[p * 128]);
        std::copy_n(&lane.values[4 * 128], 128, &lane.values[p * 128]);
      }
      TestBatch full = local;
      full.lanes[0].rule = FullRule();
      EXPECT_EQ(Difference(Reference(full), RunDecode(local, 0), type), "") << length;
    }
  }
}

TEST_F(DecodeCuda, ExtremeLogitsStayFinite) {
  Batches batches(8);
  for (const ElementType type : kTypes) {
    for (const float size : {1e2f, 1e4f, 1e10f, 1e15f}) {
      if (type == ElementType::kFloat16 && size > 1e4f) continue;  // beyond its range
      for (const bool negative : {false, true}) {
        TestBatch batch = batches.Make({type, 64, 8}, 4, 1500);
        for (TestLane& lane : batch.lanes) {
          for (float& x : lane.q) x = Rounded(std::abs(x) * size, type);
          for (float& x : lane.keys) {
            x = Rounded((negative ? -std::abs(x) : x) * size, type);
          }
        }
        const DecodeResult got = RunDecode(batch, 6);
        EXPECT_THAT(got.out,
                    testing::Each(testing::Truly([](double x) { return std::abs(x) < 6; })))
            << Describe(batch, 6);
        EXPECT_THAT(got.lse,
                    testing::Each(testing::Truly([](double x) { return std::isfinite(x); })));
      }
    }
  }
}

TEST_F(DecodeCuda, NanInAQueryIsNotHidden) {
  Batches batches(9);
  for (const ElementType type : kTypes) {
    TestBatch batch = batches.Make({type, 80, 2}, 2, 1500);
    batch.lanes[0].q.assign(80, NAN);
    batch.lanes[0].q.resize(160, 0.5f);
    const DecodeResult got = RunDecode(batch, 4);
    EXPECT_TRUE(std::isnan(got.out[0]));
    EXPECT_TRUE(std::isnan(got.lse[0]));
    for (size_t i = 80; i < got.out.size(); ++i) ASSERT_TRUE(std::isfinite(got.out[i])) << i;
  }
}

// Every pair of types, rows shorter than head_dim and plain first tokens among them.
class DecodeCoded : public DecodeCuda {
 protected:
  static std::vector<DecodeShape> Shapes(int head_dim, int group) {
    std::vector<DecodeShape> shapes;
    for (const ElementType own : {ElementType::kFloat32, ElementType::kBfloat16}) {
      const Storage types[] = {
          own == ElementType::kFloat32 ? Storage::kFloat32 : Storage::kBfloat16, Storage::kFloat8,
          Storage::kInt8, Storage::kInt4};
      for (const Storage keys : types) {
        for (const Storage values : types) {
          shapes.push_back({own, head_dim, group, false, keys, values});
        }
      }
    }
    if (head_dim == 256) {  // what GPUs with less shared memory have for plain rows in fp16
      shapes.push_back(
          {ElementType::kFloat16, head_dim, group, false, Storage::kFloat16, Storage::kFloat16});
    }
    return shapes;
  }
};

TEST_F(DecodeCoded, EqualsSoftmaxInFp64ForEveryShape) {
  Batches batches(10);
  for (const int head_dim : {64, 80, 96, 128, 256}) {
    for (const int group : {1, 4, 8, 16}) {
      for (const DecodeShape& shape : Shapes(head_dim, group)) {
        const TestBatch batch = batches.Make(shape, batches.Int(1, 5), 1500);
        const int ctas = batches.Int(1, 12);
        EXPECT_EQ(Difference(Reference(batch), RunDecode(batch, ctas), shape.type), "")
            << Describe(batch, ctas);
      }
    }
  }
}

TEST_F(DecodeCoded, EqualsSoftmaxInFp64ForRandomBatches) {
  Batches batches(11);
  const int head_dims[] = {64, 80, 96, 128, 256};
  for (int trial = 0; trial < 200; ++trial) {
    const std::vector<DecodeShape> shapes =
        Shapes(head_dims[batches.Int(0, 4)], batches.Int(1, 16));
    const DecodeShape& shape = shapes[batches.Int(0, 31)];
    const TestBatch batch =
        batches.Make(shape, batches.Int(1, trial % 10 == 0 ? 40 : 8), trial % 20 == 0 ? 6000 : 900);
    const int ctas = batches.Int(0, 1) == 0 ? 0 : batches.Int(1, 30);
    ASSERT_EQ(Difference(Reference(batch), RunDecode(batch, ctas), shape.type), "")
        << "trial " << trial << ": " << Describe(batch, ctas);
  }
}

TEST_F(DecodeCoded, HoweverCutTheResultIsTheSame) {
  Batches batches(12);
  for (const DecodeShape& shape : Shapes(128, 4)) {
    TestBatch batch = batches.Make(shape, 3, 100);
    batch.lanes.push_back(batches.Lane(batch.shape, FullRule(), 5000));
    const DecodeResult whole = RunDecode(batch, 1);
    for (const int ctas : {2, 7, 264}) {
      EXPECT_EQ(Difference(whole, RunDecode(batch, ctas), shape.type), "") << Describe(batch, ctas);
    }
  }
}

TEST_F(DecodeCoded, RowsOfZerosAndLanesWithoutTokens) {
  Batches batches(13);
  for (const DecodeShape& shape : Shapes(64, 5)) {
    TestBatch batch = batches.Make(shape, 2, 300);
    batch.lanes.push_back(batches.Lane(batch.shape, FullRule(), 0));
    batch.lanes.push_back(batches.Lane(batch.shape, FullRule(), 70));
    for (std::vector<float>* rows : {&batch.lanes[3].raw_keys, &batch.lanes[3].raw_values}) {
      std::fill(rows->begin() + 30 * 64, rows->begin() + 50 * 64, 0.0f);
    }
    Batches::Store(shape, batch.lanes[3]);
    EXPECT_EQ(Difference(Reference(batch), RunDecode(batch, 0), shape.type), "")
        << Describe(batch, 0);
  }
}

// Operands of the matrix units are fp16, whose numbers end at 65504 and 2^-24.
TEST_F(DecodeCoded, QueriesOfAnySize) {
  Batches batches(14);
  for (const DecodeShape& shape : Shapes(128, 4)) {
    for (const float size : {1e-20f, 1e-5f, 1e6f, 1e20f}) {
      TestBatch batch = batches.Make(shape, 3, 500);
      for (TestLane& lane : batch.lanes) {
        for (float& x : lane.q) x = Rounded(x * size, shape.type);
      }
      batch.scale /= size;
      EXPECT_EQ(Difference(Reference(batch), RunDecode(batch, 0), shape.type), "")
          << Describe(batch, 0) << " size " << size;
    }
  }
}

TEST_F(DecodeCoded, NanOrInfinityInAQueryIsNotHidden) {
  Batches batches(16);
  for (const DecodeShape& shape : Shapes(80, 2)) {
    for (const float broken : {NAN, INFINITY}) {
      TestBatch batch = batches.Make(shape, 2, 1500);
      batch.lanes[0].q[3] = broken;
      const DecodeResult got = RunDecode(batch, 4);
      EXPECT_FALSE(std::isfinite(got.lse[0])) << Describe(batch, 4);
      for (size_t i = 80; i < got.out.size(); ++i) ASSERT_TRUE(std::isfinite(got.out[i])) << i;
    }
  }
}

TEST_F(DecodeCoded, SmallValuesBesideTokensThatWeighMore) {
  constexpr float kSize = 1e-7f;
  Batches batches(15);
  for (const DecodeShape& shape : Shapes(128, 4)) {
    if (!IsCoded(shape.values)) continue;
    TestBatch batch;
    batch.shape = shape;
    batch.scale = 0.1f;
    batch.lanes.push_back(batches.Lane(shape, FullRule(), 900));
    TestLane& lane = batch.lanes[0];
    for (float& x : lane.raw_values) x *= kSize;
    for (int i = 0; i < shape.head_dim; ++i) {  // weighs most, and has no value
      lane.raw_keys[300 * shape.head_dim + i] = lane.q[i] * 4;
      lane.raw_values[300 * shape.head_dim + i] = 0;
    }
    Batches::Store(shape, lane);
    DecodeResult expected = Reference(batch), got = RunDecode(batch, 3);
    double most = 0;
    for (const double x : expected.out) most = std::max(most, std::abs(x));
    for (std::vector<double>* out : {&expected.out, &got.out}) {
      for (double& x : *out) x /= most;
    }
    EXPECT_EQ(Difference(expected, got, shape.type), "") << Describe(batch, 3);
  }
}

TEST_F(DecodeCuda, UnknownShapesAreRefused) {
  EXPECT_EQ(PrepareDecode({ElementType::kBfloat16, 72, 4}), 0);
  EXPECT_EQ(PrepareDecode({ElementType::kBfloat16, 128, 17}), 0);
  EXPECT_EQ(PrepareDecode({ElementType::kFloat32, 128, 0}), 0);
  EXPECT_EQ(PrepareDecode({ElementType::kFloat16, 128, 4, false, Storage::kInt8, Storage::kInt8}),
            0);
  EXPECT_NE(LaunchDecode({}, nullptr), cudaSuccess);  // no CTA
}

}  // namespace
}  // namespace headlong::cuda
