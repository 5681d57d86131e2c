#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "model/checkpoint.h"

namespace headlong {
namespace {

// By the definition of IEEE 754, field by field.
float Reference(uint16_t bits, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = bits >> mantissa_bits & ((1 << exponent_bits) - 1);
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1) {
    return mantissa ? std::numeric_limits<float>::quiet_NaN()
                    : static_cast<float>(sign * std::numeric_limits<double>::infinity());
  }
  const double scaled =
      exponent == 0 ? std::ldexp(mantissa, 1 - bias - mantissa_bits)
                    : std::ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
  return static_cast<float>(sign * scaled);
}

// Every value there is, at an odd address.
void CheckAll(TensorType type, int exponent_bits, int mantissa_bits) {
  constexpr int kValues = 1 << 16;
  std::vector<std::byte> stored(2 * kValues + 1);
  for (int i = 0; i < kValues; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    std::memcpy(stored.data() + 1 + 2 * i, &bits, 2);
  }
  const TensorView view{type, {kValues}, stored.data() + 1, 2 * kValues, {}};
  std::vector<float> out(kValues);
  ToFloat32(view, 0, kValues, out.data());
  for (int i = 0; i < kValues; ++i) {
    const float expected = Reference(static_cast<uint16_t>(i), exponent_bits, mantissa_bits);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(out[i])) << i;
    } else {
      ASSERT_EQ(std::bit_cast<uint32_t>(out[i]), std::bit_cast<uint32_t>(expected)) << i;
    }
  }
}

TEST(ToFloat32, EveryFloat16) { CheckAll(TensorType::kFloat16, 5, 10); }
TEST(ToFloat32, EveryBfloat16) { CheckAll(TensorType::kBfloat16, 8, 7); }

TEST(ToFloat32, PartsOfAnUnalignedFloat32) {
  const std::vector<float> values = {1, -2, 3.5f, 1e-40f};
  for (size_t shift = 0; shift < 4; ++shift) {
    std::vector<std::byte> stored(16 + shift);
    std::memcpy(stored.data() + shift, values.data(), 16);
    const TensorView view{TensorType::kFloat32, {2, 2}, stored.data() + shift, 16, {}};
    EXPECT_EQ(view.elements(), 4);
    std::vector<float> out(3, 7);
    ToFloat32(view, 1, 2, out.data());
    EXPECT_EQ(out, (std::vector<float>{-2, 3.5f, 7}));  // and not one element more
    ToFloat32(view, 4, 0, out.data());
    EXPECT_EQ(out[0], -2);
  }
}

}  // namespace
}  // namespace headlong
