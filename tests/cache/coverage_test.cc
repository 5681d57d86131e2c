#include "cache/coverage.h"

#include <gtest/gtest.h>

namespace headlong {
namespace {

std::string Refusal(std::vector<Part> parts, int64_t total) {
  return std::string(CheckCoveredOnce(std::move(parts), total, "rows").message());
}

TEST(CheckCoveredOnce, TakesPartsInAnyOrderAndSaysWhatIsWrong) {
  EXPECT_TRUE(CheckCoveredOnce({{5, 9}, {0, 0}, {0, 5}, {9, 9}, {7, 7}}, 9, "rows").ok());
  EXPECT_TRUE(CheckCoveredOnce({}, 0, "rows").ok());
  EXPECT_EQ(Refusal({}, 3), "rows [0, 3) of 3 are nobody's");
  EXPECT_EQ(Refusal({{0, 2}, {3, 5}}, 5), "rows [2, 3) of 5 are nobody's");
  EXPECT_EQ(Refusal({{0, 3}, {2, 5}}, 5),
            "rows from 2 of 5 are in two shares, or beyond the model");
  EXPECT_EQ(Refusal({{0, 6}}, 5), "rows from 5 of 5 are in two shares, or beyond the model");
}

// One layer of two heads; head 0 keeps everything, head 1 is local.
std::string Refusal(const std::vector<std::vector<HeldLane>>& lanes) {
  const auto plan = Plan::FromJson(
      R"({"version":1,"layers":1,"kv_heads":2,"policies":{"full":{},"local":{"window_tokens":64}},)"
      R"("default":"local","heads":[{"layer":0,"heads":[0],"policy":"full"}]})",
      {1, 2, "", {}}, "test");
  EXPECT_TRUE(plan.ok()) << plan.status();
  return std::string(CheckHeadsCovered(*plan, lanes).message());
}

TEST(CheckHeadsCovered, NamesTheHead) {
  const HeldLane local{{0, 1}, {}};
  EXPECT_EQ(Refusal({{{{0, 0}, {}}, local}, {}}), "");
  EXPECT_EQ(Refusal({{{{0, 0}, {10, 7, 3}}}, {{{0, 0}, {10, 0, 7}}, local}}), "");
  EXPECT_EQ(Refusal({{local}, {}}), "placement: layer 0 head 0: nobody holds it");
  EXPECT_EQ(Refusal({{{{0, 0}, {10, 7, 2}}}, {{{0, 0}, {10, 0, 7}}, local}}),
            "placement: layer 0 head 0: stripes [9, 10) of 10 are nobody's");
  EXPECT_EQ(Refusal({{{{0, 0}, {3, 0, 2}}}, {{{0, 0}, {2, 1, 1}}, local}}),
            "placement: layer 0 head 0: its owners split it into 3 stripes and into 2");
  EXPECT_EQ(
      Refusal({{{{0, 0}, {}}, local}, {{{0, 0}, {}}}}),
      "placement: layer 0 head 0: stripes from 0 of 1 are in two shares, or beyond the model");
  EXPECT_EQ(Refusal({{{{0, 0}, {}}, {{0, 1}, {2, 0, 1}}}, {{{0, 1}, {2, 1, 1}}}}),
            "placement: layer 0 head 1: is a local head, and those are not split");
}

}  // namespace
}  // namespace headlong
