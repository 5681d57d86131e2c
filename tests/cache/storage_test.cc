#include "cache/storage.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

#include "gtest/gtest.h"
#include "tests/support/local_head_reference.h"

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

TEST(StorageTest, Names) {
  for (Storage storage : {Storage::kFloat32, Storage::kBfloat16}) {
    EXPECT_EQ(*StorageFromName(StorageName(storage)), storage);
  }
  for (Storage storage : {Storage::kFloat8, Storage::kInt8, Storage::kInt4}) {
    EXPECT_EQ(*CodedStorageFromName(StorageName(storage)), storage);
    EXPECT_TRUE(IsCoded(storage));
    EXPECT_FALSE(StorageFromName(StorageName(storage)).ok());
  }
  EXPECT_EQ(CodedStorageFromName("bf16").status().message(),
            "storage type \"bf16\" is not one of fp8, int8, int4");
  EXPECT_EQ(ElementBytes(Storage::kFloat32), 4);
  EXPECT_EQ(ElementBytes(Storage::kBfloat16), 2);
  EXPECT_EQ(StorageFromName("fp16").status().message(),
            "storage type \"fp16\" is not one of fp32, bf16");
}

}  // namespace
}  // namespace headlong
