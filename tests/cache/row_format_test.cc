// Rows as codes: against the definition, and where their bytes lie.
#include "cache/row_format.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "tests/support/stored_row.h"

namespace headlong {
namespace {

constexpr Storage kTypes[] = {Storage::kFloat32, Storage::kBfloat16, Storage::kFloat16,
                              Storage::kFloat8,  Storage::kInt8,     Storage::kInt4};

// `count` rows next to each other, each written and read as one of them.
std::vector<float> ThroughMemory(const std::vector<float>& numbers, const RowFormat& format,
                                 int count) {
  std::vector<std::byte> memory(count * format.bytes());
  const Row rows = RowsIn(memory.data(), format, count);
  std::vector<float> read(numbers.size());
  for (int i = 0; i < count; ++i) EncodeRow(&numbers[i * format.dims], format, rows.At(format, i));
  for (int i = 0; i < count; ++i) {
    const Row row = rows.At(format, i);
    DecodeRow(row.codes, row.scales, format, &read[i * format.dims]);
  }
  return read;
}

TEST(RowFormat, EqualsTheDefinition) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (const Storage type : kTypes) {
    for (const int dims : {8, 16, 24, 32, 40, 64, 80, 128, 256}) {
      constexpr int kRows = 5;
      std::vector<float> numbers(kRows * dims);
      for (float& x : numbers) x = normal(random) * std::exp(3 * normal(random));
      const std::vector<float> read = ThroughMemory(numbers, {type, dims}, kRows);
      for (int row = 0; row < kRows; ++row) {
        const std::vector<float> expected =
            reference::StoredRow(std::span(numbers).subspan(row * dims, dims), StorageName(type));
        for (int i = 0; i < dims; ++i) {
          ASSERT_EQ(read[row * dims + i], expected[i])
              << StorageName(type) << " of " << dims << ", row " << row << " number " << i;
        }
      }
    }
  }
}

TEST(RowFormat, ExtremesStayInRange) {
  const float largest = std::numeric_limits<float>::max();
  for (const Storage type : {Storage::kFloat8, Storage::kInt8, Storage::kInt4}) {
    for (const float size : {0.0f, 1e-30f, 1.0f, 1e30f, largest / 2}) {
      std::vector<float> numbers(32, 0.0f);
      numbers[3] = size;
      numbers[20] = -size;
      const std::vector<float> read = ThroughMemory(numbers, {type, 32}, 1);
      EXPECT_NEAR(read[3], size, size * 0.01f) << StorageName(type);
      EXPECT_EQ(read[20], -read[3]) << StorageName(type);
      EXPECT_EQ(read[4], 0.0f) << StorageName(type);
    }
  }
}

TEST(RowFormat, Float8KnowsItsNumbers) {
  for (int code = 0; code < 256; ++code) {
    const float number = FromFloat8(static_cast<uint8_t>(code));
    if ((code & 0x7f) == 0x7f) {
      EXPECT_TRUE(std::isnan(number));
    } else {
      EXPECT_EQ(ToFloat8(number), code) << number;
    }
  }
  EXPECT_EQ(FromFloat8(0x38), 1.0f);
  EXPECT_EQ(FromFloat8(0x7e), 448.0f);
  EXPECT_EQ(FromFloat8(0x01), 0x1p-9f);
  EXPECT_EQ(ToFloat8(1e9f), 0x7e);
  EXPECT_EQ(ToFloat8(-460.0f), 0xfe);
  EXPECT_EQ(ToFloat8(0x1p-11f), 0) << "nearer to nothing than to the least";
  EXPECT_EQ(ToFloat8(0x1p-10f), 0) << "a tie goes to the even code";
  EXPECT_EQ(ToFloat8(0x3p-10f), 2);
}

TEST(RowFormat, Bytes) {
  EXPECT_EQ((RowFormat{Storage::kFloat32, 64}).bytes(), 256);
  EXPECT_EQ((RowFormat{Storage::kBfloat16, 64}).bytes(), 128);
  EXPECT_EQ((RowFormat{Storage::kFloat16, 64}).bytes(), 128);
  EXPECT_EQ((RowFormat{Storage::kInt8, 64}).bytes(), 64 + 2);
  EXPECT_EQ((RowFormat{Storage::kFloat8, 80}).bytes(), 80 + 2);
  EXPECT_EQ((RowFormat{Storage::kInt4, 64}).bytes(), 32 + 2 * 2);
  EXPECT_EQ((RowFormat{Storage::kInt4, 80}).bytes(), 48 + 3 * 2) << "whole groups";
  LaneFormat format = PlainFormat(Storage::kBfloat16, 64);
  EXPECT_EQ(format.token_bytes(), 256);
  EXPECT_EQ(format.sink_bytes(), 0);
  format.keys.type = Storage::kInt8;
  format.values.type = Storage::kInt4;
  format.sinks = 4;
  EXPECT_EQ(format.token_bytes(), 66 + 36);
  EXPECT_EQ(format.sink_bytes(), 4 * 256);
}

TEST(RowFormat, CopiesCodesAndScales) {
  const RowFormat format{Storage::kInt4, 40};
  std::vector<std::byte> from(6 * format.bytes()), to(9 * format.bytes());
  for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::byte>(i * 7 + 1);
  const Row source = RowsIn(from.data(), format, 6), target = RowsIn(to.data(), format, 9);
  CopyRows(format, source.At(format, 2), 3, target.At(format, 5));
  for (int i = 0; i < 3; ++i) {
    const Row a = source.At(format, 2 + i), b = target.At(format, 5 + i);
    EXPECT_TRUE(std::equal(a.codes, a.codes + format.code_bytes(), b.codes));
    EXPECT_TRUE(std::equal(a.scales, a.scales + format.scales(), b.scales));
  }
  EXPECT_EQ(target.At(format, 4).scales[1], 0);
  EXPECT_EQ(target.At(format, 8).codes[0], std::byte{0});
}

}  // namespace
}  // namespace headlong
