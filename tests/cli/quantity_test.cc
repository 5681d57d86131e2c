#include "cli/quantity.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headlong {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ParseBytes, TakesWhatPeopleWrite) {
  EXPECT_EQ(*ParseBytes("2GiB"), int64_t{2} << 30);
  EXPECT_EQ(*ParseBytes("512 MiB"), int64_t{512} << 20);
  EXPECT_EQ(*ParseBytes("1.5G"), int64_t{3} << 29);
  EXPECT_EQ(*ParseBytes("10MB"), 10'000'000);
  EXPECT_EQ(*ParseBytes(" 4096 "), 4096);
  EXPECT_EQ(*ParseBytes("7b"), 7);
  EXPECT_EQ(*ParseBytes("1kib"), 1024);
}

TEST(ParseBytes, RefusesTheRest) {
  for (const char* text : {"", "GiB", "-1", "2GX", "2GiBs", "0", "nan", "1e9", "1..5G",
                           "99999999TiB", "2,5GiB", "inf"}) {
    EXPECT_EQ(ParseBytes(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  EXPECT_THAT(std::string(ParseBytes("2Gx").status().message()), HasSubstr("2Gx"));
}

TEST(ParseByteList, OneOrMore) {
  EXPECT_THAT(*ParseByteList("2GiB,8MiB"), ElementsAre(int64_t{2} << 30, int64_t{8} << 20));
  EXPECT_FALSE(ParseByteList("2GiB,").ok());
  EXPECT_FALSE(ParseByteList("").ok());
}

TEST(ParseIntegerList, KeepsTheRange) {
  EXPECT_THAT(*ParseIntegerList("4096,8192", 1, 10000), ElementsAre(4096, 8192));
  EXPECT_FALSE(ParseIntegerList("4096,0", 1, 10000).ok());
  EXPECT_FALSE(ParseIntegerList("4096 8192", 1, 10000).ok());
  EXPECT_FALSE(ParseIntegerList("10001", 1, 10000).ok());
}

TEST(ParseTokenIds, ArrayOrWords) {
  EXPECT_THAT(*ParseTokenIds("[1, 2,3]", "ids"), ElementsAre(1u, 2u, 3u));
  EXPECT_THAT(*ParseTokenIds(" 1\n2\t4294967295 \n", "ids"), ElementsAre(1u, 2u, 4294967295u));
  EXPECT_TRUE(ParseTokenIds("", "ids")->empty());
  EXPECT_TRUE(ParseTokenIds("[]", "ids")->empty());
}

TEST(ParseTokenIds, NamesTheValueThatIsWrong) {
  for (const char* text : {"1 -2", "1 2.0", "[1, \"2\"]", "[1, -2]", "1 4294967296", "1,2", "[1"}) {
    const absl::Status status = ParseTokenIds(text, "ids.json").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("ids.json")) << text;
  }
  EXPECT_THAT(std::string(ParseTokenIds("1 -2", "x").status().message()),
              HasSubstr("value 2 (-2)"));
}

TEST(Format, Bytes) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1024), "1.00 KiB");
  EXPECT_EQ(FormatBytes(int64_t{1} << 30), "1.00 GiB");
  EXPECT_EQ(FormatBytes((int64_t{1} << 30) - 1), "1.00 GiB");
  EXPECT_EQ(FormatBytes(int64_t{173} << 20), "173 MiB");
  EXPECT_EQ(FormatBytes(18'140'000), "17.3 MiB");
}

TEST(Format, Counts) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1000), "1,000");
  EXPECT_EQ(FormatCount(1234567), "1,234,567");
  EXPECT_EQ(FormatCount(-123456), "-123,456");
}

TEST(Format, Times) {
  EXPECT_EQ(FormatMillis(0.25), "0.2 ms");
  EXPECT_EQ(FormatMillis(850), "850 ms");
  EXPECT_EQ(FormatMillis(12345), "12.3 s");
  EXPECT_EQ(FormatMillis(187000), "3 min 07 s");
}

}  // namespace
}  // namespace headlong
