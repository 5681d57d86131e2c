// PackedMatrix against fp64; bf16 against operands rounded the same way. Operands are N(0, 1), so a
// running sum is about sqrt(inputs) and its roundings add up to some 2e-8 * inputs; allowed are
// 1.5e-7 * inputs + 1e-6 * sqrt(inputs), a thousandth of what one wrong term would change.
#include <cmath>
#include <random>
#include <vector>

#include "cache/storage.h"
#include "gtest/gtest.h"
#include "worker/kernels/matmul_cpu.h"
#include "worker/kernels/matmul_pieces.h"
#include "worker/kernels/op_rows.h"

namespace headlong::cpu {
namespace {

std::vector<float> Floats(int64_t n, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> v(n);
  for (float& x : v) x = normal(random);
  return v;
}

std::vector<float> Rounded(std::vector<float> v, MatMulType type) {
  if (type == MatMulType::kBfloat16) {
    for (float& x : v) x = ToFloat(ToBfloat16(x));
  }
  return v;
}

// Every output where there are few, else a random thousand of them.
void ExpectProduct(const std::vector<float>& x, const std::vector<float>& w, int rows, int outputs,
                   int inputs, const std::vector<float>& y) {
  std::mt19937 random(7);
  const int64_t all = int64_t{rows} * outputs;
  const double tolerance = 1.5e-7 * inputs + 1e-6 * std::sqrt(inputs);
  for (int64_t n = 0; n < std::min<int64_t>(all, 1000); ++n) {
    const int64_t at = all <= 1000 ? n : random() % all;
    const float* a = &x[at / outputs * inputs];
    const float* b = &w[at % outputs * inputs];
    double dot = 0;
    for (int i = 0; i < inputs; ++i) dot += double{a[i]} * b[i];
    ASSERT_NEAR(y[at], dot, tolerance)
        << rows << " x " << outputs << " x " << inputs << " at " << at;
  }
}

class PackedMatrixTest : public testing::TestWithParam<MatMulType> {};

TEST_P(PackedMatrixTest, EqualsTheProductInFp64) {
  for (int outputs : {1, 3, 7, 17, 64, 250}) {
    for (int inputs : {8, 9, 40, 64, 1000}) {
      const auto w = Floats(outputs * inputs, outputs * 1000 + inputs);
      auto matrix = PackedMatrix::Create(w.data(), outputs, inputs, GetParam());
      ASSERT_TRUE(matrix.ok()) << matrix.status();
      EXPECT_GE(matrix->bytes(), int64_t{outputs} * inputs * 2);
      for (int rows : {1, 2, 3, 5, 8, 16, 32, 33, 100, 512, 700}) {
        const auto x = Floats(rows * inputs, rows);
        std::vector<float> y(rows * outputs + 1, NAN);
        y.back() = 42;
        matrix->Run(x.data(), rows, y.data());
        EXPECT_EQ(y.back(), 42);
        ExpectProduct(Rounded(x, GetParam()), Rounded(w, GetParam()), rows, outputs, inputs, y);
      }
    }
  }
}

TEST_P(PackedMatrixTest, ARowDoesNotDependOnTheOthers) {
  const int outputs = 96, inputs = 200;
  const auto w = Floats(outputs * inputs, 1);
  auto matrix = PackedMatrix::Create(w.data(), outputs, inputs, GetParam());
  ASSERT_TRUE(matrix.ok());
  for (int rows : {2, 3, 11, 16, 40, 100}) {
    auto x = Floats(rows * inputs, 2);
    std::vector<float> y(rows * outputs), other(rows * outputs);
    matrix->Run(x.data(), rows, y.data());
    for (int i = inputs; i < rows * inputs; ++i) x[i] = NAN;  // all but the first row
    matrix->Run(x.data(), rows, other.data());
    for (int o = 0; o < outputs; ++o) EXPECT_EQ(y[o], other[o]) << rows;
  }
}

TEST_P(PackedMatrixTest, RowCountsInAnyOrderGiveTheSameBits) {
  const int outputs = 130, inputs = 64;
  const auto w = Floats(outputs * inputs, 1), x = Floats(300 * inputs, 2);
  auto matrix = PackedMatrix::Create(w.data(), outputs, inputs, GetParam());
  ASSERT_TRUE(matrix.ok());
  std::vector<std::vector<float>> first;
  for (int round = 0; round < 2; ++round) {
    for (int rows = 1, n = 0; rows <= 300; rows += 13, ++n) {
      std::vector<float> y(rows * outputs);
      matrix->Run(x.data(), rows, y.data());
      if (round == 0) {
        first.push_back(y);
      } else {
        EXPECT_EQ(y, first[n]) << rows;
      }
    }
  }
}

TEST_P(PackedMatrixTest, NoOutputsIsLegal) {
  auto matrix = PackedMatrix::Create(nullptr, 0, 64, GetParam());
  ASSERT_TRUE(matrix.ok());
  EXPECT_EQ(matrix->bytes(), 0);
  const auto x = Floats(64, 1);
  float untouched = 42;
  matrix->Run(x.data(), 1, &untouched);
  EXPECT_EQ(untouched, 42);
}

INSTANTIATE_TEST_SUITE_P(Types, PackedMatrixTest,
                         testing::Values(MatMulType::kFloat32, MatMulType::kBfloat16),
                         [](const auto& type) {
                           return type.param == MatMulType::kFloat32 ? "fp32" : "bf16";
                         });

TEST(PackedMatrix, MovesAndRefusesNonsense) {
  const auto w = Floats(4 * 8, 1), x = Floats(8, 2);
  auto created = PackedMatrix::Create(w.data(), 4, 8, MatMulType::kFloat32);
  ASSERT_TRUE(created.ok());
  PackedMatrix moved = std::move(*created);
  std::vector<float> y(4);
  moved.Run(x.data(), 1, y.data());
  ExpectProduct(x, w, 1, 4, 8, y);
  EXPECT_FALSE(PackedMatrix::Create(w.data(), -1, 8, MatMulType::kFloat32).ok());
  EXPECT_FALSE(PackedMatrix::Create(w.data(), 4, 0, MatMulType::kFloat32).ok());
}

TEST(PackedMatrix, WeightsThatAreBfloat16TakeHalfTheMemoryAndLoseNothing) {
  for (const auto& [outputs, inputs] : {std::pair{96, 200}, {1025, 2048}, {5, 9}}) {
    auto w = Rounded(Floats(int64_t{outputs} * inputs, 1), MatMulType::kBfloat16);
    auto matrix = PackedMatrix::Create(w.data(), outputs, inputs, MatMulType::kFloat32);
    ASSERT_TRUE(matrix.ok());
    EXPECT_EQ(matrix->bytes(), int64_t{outputs} * inputs * 2);
    for (int rows : {1, 3, 32, 33, 200}) {
      const auto x = Floats(int64_t{rows} * inputs, 2);
      std::vector<float> y(int64_t{rows} * outputs);
      matrix->Run(x.data(), rows, y.data());
      ExpectProduct(x, w, rows, outputs, inputs, y);
    }
    w.back() = std::nextafter(w.back(), 2.0f);  // no bf16 number
    auto wide = PackedMatrix::Create(w.data(), outputs, inputs, MatMulType::kFloat32);
    ASSERT_TRUE(wide.ok());
    EXPECT_EQ(wide->bytes(), int64_t{outputs} * inputs * 4);
  }
}

TEST(FewRowsProduct, BuildsAgree) {
  for (int outputs : {1, 4, 7, 30}) {
    for (int inputs : {1, 8, 31, 512}) {
      for (int rows = 1; rows <= 33; ++rows) {
        const auto w = Floats(outputs * inputs, 1), x = Floats(rows * inputs, 2);
        for (Isa isa : kAllIsas) {
          if (!IsaSupported(isa)) continue;
          std::vector<float> y(rows * outputs);
          const RowKernels& kernels = RowKernelsFor(isa);
          kernels.few_rows_product({x.data(), w.data(), y.data(), outputs, rows, outputs, inputs});
          ExpectProduct(x, w, rows, outputs, inputs, y);
          std::vector<uint16_t> narrow(w.size());
          kernels.round(w.data(), std::ssize(w), narrow.data());
          std::vector<float> paired(x.size());
          kernels.pair_order(x.data(), rows, inputs, paired.data());
          kernels.few_rows_product_bf16(
              {paired.data(), narrow.data(), y.data(), outputs, rows, outputs, inputs});
          ExpectProduct(x, Rounded(w, MatMulType::kBfloat16), rows, outputs, inputs, y);
        }
      }
    }
  }
}

TEST(MatMulPieces, CoverEveryRowOnce) {
  for (int rows = 1; rows <= 3000; ++rows) {
    int left = rows, pieces = 0, computed = 0;
    while (left > 0) {
      const MatMulPiece piece = NextPiece(left);
      ASSERT_GE(piece.rows, 1);
      ASSERT_LE(piece.rows, kPieceRows[piece.size]);
      computed += kPieceRows[piece.size];
      left -= piece.rows;
      ++pieces;
    }
    ASSERT_EQ(left, 0);
    ASSERT_LE(computed, std::max(2 * rows, rows + rows / 3 + 8));
    ASSERT_LE(pieces, rows / 512 + 6);
  }
}

}  // namespace
}  // namespace headlong::cpu
