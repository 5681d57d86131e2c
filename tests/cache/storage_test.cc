#include "cache/storage.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

#include "gtest/gtest.h"
#include "tests/support/local_head_reference.h"
#include "tests/support/stored_row.h"

namespace headlong {
namespace {

TEST(StorageTest, RoundsToNearestEven) {
  EXPECT_EQ(ToBfloat16(1.0f).bits, 0x3f80);
  EXPECT_EQ(ToBfloat16(-2.0f).bits, 0xc000);
  EXPECT_EQ(ToBfloat16(1.0f + 0x1p-8f).bits, 0x3f80) << "a tie goes to the even neighbour below";
  EXPECT_EQ(ToBfloat16(1.0f + 0x3p-8f).bits, 0x3f82) << "a tie goes to the even neighbour above";
  EXPECT_EQ(ToBfloat16(1.0f + 0x1p-8f + 0x1p-20f).bits, 0x3f81);
  EXPECT_EQ(ToBfloat16(-0.0f).bits, 0x8000);
}

TEST(StorageTest, KeepsInfinityAndNan) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(ToFloat(ToBfloat16(kInfinity)), kInfinity);
  EXPECT_EQ(ToFloat(ToBfloat16(std::numeric_limits<float>::max())), kInfinity);
  for (uint32_t bits : {0x7fc00000u, 0x7f800001u, 0xffffffffu, 0x7fffffffu}) {
    EXPECT_TRUE(std::isnan(ToFloat(ToBfloat16(__builtin_bit_cast(float, bits))))) << bits;
  }
}

TEST(StorageTest, EqualsArithmeticRounding) {
  std::mt19937 random(1);
  for (int i = 0; i < 200'000; ++i) {
    const auto value = __builtin_bit_cast(float, static_cast<uint32_t>(random()));
    if (!std::isfinite(value)) continue;
    ASSERT_EQ(ToFloat(ToBfloat16(value)), reference::RoundToBfloat16(value)) << value;
  }
}

TEST(StorageTest, Float16RoundsToNearestEven) {
  EXPECT_EQ(ToFloat16(1.0f).bits, 0x3c00);
  EXPECT_EQ(ToFloat16(-2.0f).bits, 0xc000);
  EXPECT_EQ(ToFloat16(1.0f + 0x1p-11f).bits, 0x3c00) << "a tie goes to the even neighbour below";
  EXPECT_EQ(ToFloat16(1.0f + 0x3p-11f).bits, 0x3c02) << "a tie goes to the even neighbour above";
  EXPECT_EQ(ToFloat16(1.0f + 0x1p-11f + 0x1p-20f).bits, 0x3c01);
  EXPECT_EQ(ToFloat16(-0.0f).bits, 0x8000);
  EXPECT_EQ(ToFloat16(0x1p-14f).bits, 0x0400) << "the smallest normal number";
  EXPECT_EQ(ToFloat16(0x1p-14f - 0x1p-26f).bits, 0x0400) << "rounds up to it";
  EXPECT_EQ(ToFloat16(0x1p-24f).bits, 0x0001) << "the smallest of all";
  EXPECT_EQ(ToFloat16(0x1p-25f).bits, 0x0000) << "a tie goes to zero, which is even";
  EXPECT_EQ(ToFloat16(-0x3p-26f).bits, 0x8001);
}

TEST(StorageTest, Float16SaturatesAndKeepsNan) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float large : {65504.0f, 65519.0f, 65520.0f, 65536.0f, 1e5f, 3e38f, kInfinity}) {
    EXPECT_EQ(ToFloat(ToFloat16(large)), 65504.0f) << large;
    EXPECT_EQ(ToFloat(ToFloat16(-large)), -65504.0f) << large;
  }
  EXPECT_EQ(ToFloat(ToFloat16(65488.0f - 0.01f)), 65472.0f);
  for (uint32_t bits : {0x7fc00000u, 0x7f800001u, 0xffffffffu, 0x7fffffffu}) {
    const float nan = ToFloat(ToFloat16(__builtin_bit_cast(float, bits)));
    EXPECT_TRUE(std::isnan(nan)) << bits;
    EXPECT_EQ(std::signbit(nan), bits >> 31 != 0) << bits;
  }
}

TEST(StorageTest, EveryFloat16NumberIsItself) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = ToFloat(Float16{static_cast<uint16_t>(bits)});
    if (!std::isfinite(value)) continue;
    ASSERT_EQ(ToFloat16(value).bits, bits);
  }
}

TEST(StorageTest, Float16EqualsArithmeticRounding) {
  std::mt19937 random(2);
  for (int i = 0; i < 200'000; ++i) {
    const auto value = __builtin_bit_cast(float, static_cast<uint32_t>(random()));
    if (!std::isfinite(value)) continue;
    ASSERT_EQ(ToFloat(ToFloat16(value)), reference::StoredRow({&value, 1}, "fp16")[0]) << value;
  }
}

TEST(StorageTest, Names) {
  for (Storage storage : {Storage::kFloat32, Storage::kBfloat16, Storage::kFloat16}) {
    const std::string_view name = StorageName(storage);
    EXPECT_EQ(*PlainStorageFromName(name), storage);
    EXPECT_EQ(*StorageFromName(name), storage);
    EXPECT_FALSE(IsCoded(storage));
    EXPECT_EQ(ElementBytes(name), ElementBytes(storage)) << name;
  }
  for (Storage storage : {Storage::kFloat8, Storage::kInt8, Storage::kInt4}) {
    EXPECT_EQ(*StorageFromName(StorageName(storage)), storage);
    EXPECT_TRUE(IsCoded(storage));
    EXPECT_FALSE(PlainStorageFromName(StorageName(storage)).ok());
  }
  EXPECT_EQ(StorageFromName("f16").status().message(),
            "storage type \"f16\" is not one of fp32, bf16, fp16, fp8, int8, int4");
  EXPECT_EQ(PlainStorageFromName("int8").status().message(),
            "storage type \"int8\" is not one of fp32, bf16, fp16");
  EXPECT_EQ(ElementBytes(Storage::kFloat32), 4);
  EXPECT_EQ(ElementBytes(Storage::kBfloat16), 2);
  EXPECT_EQ(ElementBytes(Storage::kFloat16), 2);
}

}  // namespace
}  // namespace headlong
