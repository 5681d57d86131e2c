// The operations of the forward pass against fp64. Tolerance: 1e-6 of each value (2e-6 where an
// exponential or a sum of many is in it), on every instruction set that this processor has.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "worker/kernels/op_cpu.h"
#include "worker/kernels/op_rows.h"

namespace headlong::cpu {
namespace {

std::vector<float> Floats(int64_t n, uint64_t seed, float size = 1) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, size);
  std::vector<float> v(n);
  for (float& x : v) x = normal(random);
  return v;
}

std::vector<const RowKernels*> Builds() {
  std::vector<const RowKernels*> builds;
  for (Isa isa : kAllIsas) {
    if (IsaSupported(isa)) builds.push_back(&RowKernelsFor(isa));
  }
  return builds;
}

void ExpectClose(double got, double expected, double tolerance) {
  EXPECT_NEAR(got, expected, tolerance * std::max(1e-3, std::abs(expected)));
}

TEST(RmsNorm, EqualsItsFormula) {
  for (int dim : {1, 7, 8, 64, 100, 256, 1000}) {
    for (int rows : {1, 3, 300}) {
      const auto x = Floats(rows * dim, dim), weight = Floats(dim, 2);
      std::vector<float> out(rows * dim), in_place = x;
      RmsNorm(x.data(), weight.data(), rows, dim, 1e-5f, out.data());
      RmsNorm(in_place.data(), weight.data(), rows, dim, 1e-5f, in_place.data());
      EXPECT_EQ(out, in_place);
      for (int r = 0; r < rows; ++r) {
        double sum = 0;
        for (int i = 0; i < dim; ++i) sum += double{x[r * dim + i]} * x[r * dim + i];
        const double inverse = 1 / std::sqrt(sum / dim + double{1e-5f});
        for (int i = 0; i < dim; ++i) {
          ExpectClose(out[r * dim + i], x[r * dim + i] * inverse * weight[i], 1e-6);
        }
      }
    }
  }
}

TEST(RmsNorm, BuildsAgree) {
  const auto x = Floats(333, 1), weight = Floats(333, 2);
  for (const RowKernels* build : Builds()) {
    std::vector<float> out(333), generic(333);
    build->rms_norm(x.data(), weight.data(), 333, 1e-6f, out.data());
    generic::kRowKernels.rms_norm(x.data(), weight.data(), 333, 1e-6f, generic.data());
    for (int i = 0; i < 333; ++i) ExpectClose(out[i], generic[i], 1e-6);
  }
}

TEST(Center, TakesOffTheMean) {
  for (int columns : {1, 7, 64, 1000}) {
    for (int rows : {1, 300}) {
      const auto x = Floats(rows * columns, columns, 3);
      std::vector<float> out(rows * columns), in_place = x;
      Center(x.data(), rows, columns, out.data());
      Center(in_place.data(), rows, columns, in_place.data());
      EXPECT_EQ(out, in_place);
      for (int r = 0; r < rows; ++r) {
        double mean = 0;
        for (int i = 0; i < columns; ++i) mean += double{x[r * columns + i]} / columns;
        for (int i = 0; i < columns; ++i) {
          EXPECT_NEAR(out[r * columns + i], x[r * columns + i] - mean, 2e-6);
        }
      }
    }
  }
}

TEST(Gelu, EqualsItsFormulaOverTheWholeRange) {
  for (int columns : {1, 33, 1000}) {
    auto x = Floats(40 * columns, columns, 4);
    x[0] = -200;
    x[1] = 1e30f;
    x[2] = 0;
    std::vector<float> out(40 * columns);
    Gelu(x.data(), 40, columns, out.data());
    for (int i = 0; i < 40 * columns; ++i) {
      const double expected = 0.5 * x[i] * (1 + std::erf(x[i] / std::sqrt(2.0)));
      EXPECT_NEAR(out[i], expected, 1e-6 * std::max(1.0, std::abs(expected))) << x[i];
    }
  }
}

TEST(RopeTable, IsCosineAndSineOfTheFp32Angle) {
  const int half = 20;
  std::vector<float> frequencies(half);
  for (int i = 0; i < half; ++i) frequencies[i] = std::pow(10000.0f, -i / 20.0f);
  std::vector<int32_t> positions;
  for (int p : {0, 1, 2, 4095, 65535, 131072}) positions.push_back(p);
  for (int p = 0; p < 500; ++p) positions.push_back(p * 262);
  const int rows = static_cast<int>(positions.size());
  std::vector<float> table(rows * 2 * half);
  RopeTable(positions.data(), rows, frequencies.data(), half, table.data());
  for (int r = 0; r < rows; ++r) {
    for (int i = 0; i < half; ++i) {
      const float angle = static_cast<float>(positions[r]) * frequencies[i];
      EXPECT_NEAR(table[r * 2 * half + i], std::cos(double{angle}), 1e-7);
      EXPECT_NEAR(table[r * 2 * half + half + i], std::sin(double{angle}), 1e-7);
    }
  }
}

TEST(ApplyRope, RotatesPairsAHalfApart) {
  for (int half : {4, 5, 32, 64}) {
    for (int rows : {1, 400}) {
      const int heads = 3, stride = 2 * half * heads + 7;
      const auto before = Floats(rows * stride, half);
      std::vector<float> table(rows * 2 * half);
      for (int r = 0; r < rows; ++r) {
        for (int i = 0; i < half; ++i) {
          table[r * 2 * half + i] = std::cos(0.1f * r * (i + 1));
          table[r * 2 * half + half + i] = std::sin(0.1f * r * (i + 1));
        }
      }
      auto x = before;
      ApplyRope(x.data(), stride, rows, heads, half, table.data());
      for (int r = 0; r < rows; ++r) {
        const float* cs = &table[r * 2 * half];
        for (int h = 0; h < heads; ++h) {
          for (int i = 0; i < half; ++i) {
            const int64_t at = r * stride + 2 * h * half + i;
            const double a = before[at], b = before[at + half];
            EXPECT_NEAR(x[at], a * cs[i] - b * cs[half + i], 1e-6);
            EXPECT_NEAR(x[at + half], b * cs[i] + a * cs[half + i], 1e-6);
          }
        }
        for (int k = 2 * half * heads; k < stride; ++k) {
          EXPECT_EQ(x[r * stride + k], before[r * stride + k]);
        }
      }
    }
  }
}

TEST(SiluMul, EqualsItsFormulaOverTheWholeRange) {
  for (int columns : {1, 7, 8, 33, 1000}) {
    for (int rows : {1, 40}) {
      auto gate_up = Floats(2 * rows * columns, columns, 20);
      gate_up[0] = 200;
      if (columns > 6) gate_up[1] = -200, gate_up[2] = 0, gate_up[3] = -87, gate_up[4] = 1e36f;
      std::vector<float> out(rows * columns);
      SiluMul(gate_up.data(), rows, columns, out.data());
      for (int r = 0; r < rows; ++r) {
        for (int i = 0; i < columns; ++i) {
          const double gate = gate_up[2 * r * columns + i];
          const double up = gate_up[(2 * r + 1) * columns + i];
          ExpectClose(out[r * columns + i], static_cast<float>(gate / (1 + std::exp(-gate)) * up),
                      2e-6);
        }
      }
    }
  }
}

TEST(SiluMul, BuildsAgreeOnAFineGrid) {
  std::vector<float> gate, up;
  for (float x = -90; x < 90; x += 0.0037f) gate.push_back(x);
  up.assign(gate.size(), 1);
  std::vector<float> out(gate.size());
  for (const RowKernels* build : Builds()) {
    build->silu_mul(gate.data(), up.data(), static_cast<int64_t>(gate.size()), out.data());
    for (size_t i = 0; i < gate.size(); ++i) {
      const double x = gate[i];
      const double expected = x / (1 + std::exp(-x));
      ASSERT_NEAR(out[i], expected, 1e-6 * std::abs(expected) + 1e-33) << x;
    }
  }
}

TEST(Add, AddsEveryElement) {
  for (int n : {0, 1, 9, 16384, 16385, 300000}) {
    const auto x = Floats(n, 1), y = Floats(n, 2);
    auto sum = x;
    Add(sum.data(), y.data(), n);
    for (int i = 0; i < n; ++i) ASSERT_EQ(sum[i], x[i] + y[i]);
  }
}

TEST(StoreRows, RoundsAsTheStorageTypeSays) {
  for (int count : {1, 8, 13, 64, 256}) {
    for (int rows : {1, 5, 1000}) {
      const int stride = count + 3;
      const auto x = Floats(rows * stride, count, 100);
      std::vector<std::byte> floats(rows * count * 4), halves(rows * count * 2);
      std::vector<std::byte> narrow(halves.size());
      StoreRows(x.data(), stride, rows, count, Storage::kFloat32, floats.data());
      StoreRows(x.data(), stride, rows, count, Storage::kBfloat16, halves.data());
      StoreRows(x.data(), stride, rows, count, Storage::kFloat16, narrow.data());
      for (int r = 0; r < rows; ++r) {
        EXPECT_EQ(std::memcmp(&floats[r * count * 4], &x[r * stride], count * 4), 0);
        for (int i = 0; i < count; ++i) {
          uint16_t bits;
          std::memcpy(&bits, &halves[(r * count + i) * 2], 2);
          ASSERT_EQ(bits, ToBfloat16(x[r * stride + i]).bits);
          std::memcpy(&bits, &narrow[(r * count + i) * 2], 2);
          ASSERT_EQ(bits, ToFloat16(x[r * stride + i]).bits);
        }
      }
    }
  }
}

TEST(Round, EqualsToBfloat16ForAllKindsOfBits) {
  std::mt19937 random(1);
  std::vector<uint32_t> bits = {0,          0x80000000, 0x7f800000, 0xff800000, 0x7f800001,
                                0xffffffff, 0x7fc00000, 0x3f808000, 0x3f818000, 0x3f808001,
                                0x7f7fffff, 0x00000001, 0x00008000, 0x0000ffff, 0x807fffff};
  while (bits.size() < 100003) bits.push_back(random());
  std::vector<float> x(bits.size());
  std::memcpy(x.data(), bits.data(), bits.size() * 4);
  for (const RowKernels* build : Builds()) {
    std::vector<uint16_t> rounded(x.size());
    std::vector<float> wide(x.size());
    build->round(x.data(), static_cast<int64_t>(x.size()), rounded.data());
    build->round_wide(x.data(), static_cast<int64_t>(x.size()), wide.data());
    for (size_t i = 0; i < x.size(); ++i) {
      const Bfloat16 expected = ToBfloat16(x[i]);
      ASSERT_EQ(rounded[i], expected.bits) << std::hex << bits[i];
      const float back = ToFloat(expected);
      ASSERT_EQ(std::memcmp(&wide[i], &back, 4), 0) << std::hex << bits[i];
    }
  }
}

TEST(RoundFloat16, EqualsToFloat16ForAllKindsOfBits) {
  std::mt19937 random(2);
  std::vector<uint32_t> bits = {0,          0x80000000, 0x7f800000, 0xff800000, 0x7fc00000,
                                0xffc00000, 0x477fe000, 0x477fefff, 0x477ff000, 0x47800000,
                                0xc77ff000, 0x7f7fffff, 0x387fffff, 0x38800000, 0x33000000,
                                0x33000001, 0xb3800000, 0x00000001, 0x3f801000, 0x3f803000};
  while (bits.size() < 20000) bits.push_back(random());
  // Most random bits are beyond fp16's range: these lie within.
  while (bits.size() < 100003) {
    bits.push_back((random() & 0x80ffffffu) | (0x33u + random() % 0x15u) << 24);
  }
  std::vector<float> x(bits.size());
  std::memcpy(x.data(), bits.data(), bits.size() * 4);
  for (const RowKernels* build : Builds()) {
    std::vector<uint16_t> rounded(x.size());
    build->round_float16(x.data(), static_cast<int64_t>(x.size()), rounded.data());
    for (size_t i = 0; i < x.size(); ++i) {
      if (std::isnan(x[i])) {  // which one is the processor's choice
        ASSERT_TRUE(std::isnan(ToFloat(Float16{rounded[i]}))) << std::hex << bits[i];
        ASSERT_EQ(rounded[i] >> 15, bits[i] >> 31) << std::hex << bits[i];
        continue;
      }
      ASSERT_EQ(rounded[i], ToFloat16(x[i]).bits) << std::hex << bits[i];
    }
  }
}

}  // namespace
}  // namespace headlong::cpu
