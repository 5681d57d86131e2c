#include "cache/projections.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/orthonormal.h"

namespace headlong {
namespace {

using testing::HasSubstr;

std::string Refused(int head_dim, const HeadProjections& head) {
  return std::string(Projections::Create(head_dim, {{{3, 1}, head}}).status().message());
}

TEST(Projections, RefuseWhatIsNoProjectionByTheNameOfItsHead) {
  EXPECT_EQ(Refused(32, {RandomOrthonormal(1, 16, 32), RandomOrthonormal(2, 32, 32)}), "");
  EXPECT_THAT(Refused(32, {std::vector<float>(40), {}}), HasSubstr("layer 3 head 1 k: 40 numbers"));
  EXPECT_THAT(Refused(32, {{}, RandomOrthonormal(1, 8, 32)}), HasSubstr("v: a rank of 8"));
  EXPECT_THAT(Refused(16, {std::vector<float>(16 * 32), {}}), HasSubstr("a rank of 32"));
  std::vector<float> rows = RandomOrthonormal(1, 16, 32);
  rows[5] += 0.1f;
  EXPECT_THAT(Refused(32, {rows, {}}), HasSubstr("are not orthonormal"));
  rows = RandomOrthonormal(1, 16, 32);
  rows[40] = std::nanf("");
  EXPECT_THAT(Refused(32, {{}, rows}), HasSubstr("v: rows 0 and 1 are not orthonormal"));
}

TEST(Projections, DigestIsOfAllNumbersAndPlaces) {
  const HeadProjections head{RandomOrthonormal(1, 16, 32), {}};
  const auto digest = [](const Projections::Heads& heads) {
    return Projections::Create(32, heads).value()->digest();
  };
  const std::string one = digest({{{0, 0}, head}});
  EXPECT_EQ(one, digest({{{0, 0}, head}}));
  EXPECT_NE(one, digest({{{0, 1}, head}}));
  EXPECT_NE(one, digest({{{0, 0}, {{}, head.keys}}}));
  EXPECT_NE(one, digest({{{0, 0}, head}, {{0, 1}, head}}));
}

TEST(HadamardRows, AreOrthonormalOfOneMagnitudeInEachBlock) {
  for (const int dims : {16, 64, 80, 96, 128}) {
    const std::vector<float> rows = HadamardRows(dims);
    const int block = dims & -dims;
    for (int i = 0; i < dims; ++i) {
      for (int j = 0; j < dims; ++j) {
        const bool together = i / block == j / block;
        EXPECT_FLOAT_EQ(std::abs(rows[i * dims + j]),
                        together ? 1 / std::sqrt(static_cast<float>(block)) : 0);
      }
    }
    EXPECT_TRUE(Projections::Create(dims, {{{0, 0}, {rows, rows}}}).ok());
  }
}

TEST(LaneRank, NamesGoBothWays) {
  EXPECT_EQ(LaneRankFromName("48").value(), (LaneRank{48, 48}));
  EXPECT_EQ(LaneRankFromName("all/64").value(), (LaneRank{0, 64}));
  for (const LaneRank rank : {LaneRank{48, 48}, LaneRank{16, 0}, LaneRank{0, 32}, LaneRank{}}) {
    EXPECT_EQ(LaneRankFromName(LaneRankName(rank)).value(), rank);
  }
  for (const char* wrong : {"", "8", "20", "-16", "16/", "16/32/48", "x"}) {
    EXPECT_FALSE(LaneRankFromName(wrong).ok()) << wrong;
  }
}

}  // namespace
}  // namespace headlong
