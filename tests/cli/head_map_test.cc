#include "cli/head_map.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headlong {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

Plan PlanFrom(const std::string& json, int layers, int kv_heads) {
  return Plan::FromJson(json, PlanShape{layers, kv_heads, ""}, "test plan").value();
}

Plan SmallPlan() {
  return PlanFrom(R"({"version":1,"layers":3,"kv_heads":2,"block_tokens":16,"prefill":"streaming",
    "policies":{"retrieval":{},"local":{"sinks":4,"window_tokens":256,"compensation":"mean"},
                "lean":{"sinks":0,"window_tokens":1024,"compensation":"none"}},
    "default":"local",
    "heads":[{"layer":1,"heads":[0],"policy":"retrieval"},
             {"layer":2,"heads":[1],"policy":"lean"}]})",
                  3, 2);
}

TEST(CacheMap, GoldenWithoutColour) {
  // One head: 4096 tokens x 64 x 2 (K, V) x 2 bytes = 1 MiB in full; lean holds 1024 + a block.
  const MapStyle style{false, true, 80};
  EXPECT_EQ(DrawCacheMap(SmallPlan(), {64, 2, 4096, 4000}, style),
            "layer     0  1  2\n"
            "head 0   o▁ R█ o▁\n"
            "head 1   o▁ o▁ l▃\n"
            "\n"
            "               heads      each\n"
            "l▃  lean           1   256 KiB  last 1,024\n"
            "o▁  local          4  68.5 KiB  first 4, last 256, a mean of the rest\n"
            "R█  retrieval      1  1.00 MiB  keeps everything\n"
            "4,096 tokens: cache 1.52 MiB of 6.00 MiB in full (25.3 %)\n");
}

TEST(CacheMap, AShortSequenceIsHeldInFullByAll) {
  const std::string map = DrawCacheMap(SmallPlan(), {64, 2, 64, 60}, {false, true, 80});
  EXPECT_THAT(map, HasSubstr("o█ R█ o█"));  // letters still tell the roles apart
}

TEST(CacheMap, AsciiAndColour) {
  EXPECT_THAT(DrawCacheMap(SmallPlan(), {64, 2, 4096, 4000}, {false, false, 80}),
              HasSubstr("head 0   o. R# o.\n"));
  const std::string coloured = DrawCacheMap(SmallPlan(), {64, 2, 4096, 4000}, {true, true, 80});
  EXPECT_THAT(coloured, HasSubstr("\x1b[1;33mR█\x1b[0m"));
  EXPECT_THAT(DrawCacheMap(SmallPlan(), {64, 2, 4096, 4000}, {false, true, 80}),
              Not(HasSubstr("\x1b")));
}

TEST(HeadGrid, ManyLayersTakeSeveralPanels) {
  const std::string map = DrawPlanMap(Plan::Full(12, 1), {false, true, 30});
  EXPECT_THAT(map, HasSubstr("layer     0  1  2  3  4  5  6\n"
                             "head 0    R  R  R  R  R  R  R\n"
                             "\n"
                             "layer     7  8  9 10 11\n"
                             "head 0    R  R  R  R  R\n"));
}

TEST(PolicyLetters, AreDifferent) {
  EXPECT_THAT(PolicyLetters(SmallPlan()), ElementsAre('l', 'o', 'R'));
}

TEST(PlacementMap, Golden) {
  v1::Placement placement;
  placement.set_epoch(3);
  placement.set_step_ms(1.5);
  placement.set_lower_bound_ms(1.2);
  placement.set_gap(0.25);
  for (const char* id : {"w0", "w1"}) {
    v1::WorkerShare* share = placement.add_workers();
    share->set_worker_id(id);
    share->set_cache_bytes(1 << 20);
    share->set_weights_bytes(2 << 20);
    share->set_memory_bytes(4 << 20);
  }
  const auto add = [&](int rank, int layer, int head, bool retrieval) {
    v1::HeadShare* share = placement.mutable_workers(rank)->add_heads();
    share->set_layer(layer);
    share->set_head(head);
    share->set_retrieval(retrieval);
  };
  add(0, 0, 0, true);
  add(0, 1, 1, false);
  add(1, 0, 1, false);
  add(1, 1, 0, true);
  EXPECT_EQ(DrawPlacementMap(placement, 2, 2, {false, true, 80}),
            "layer    0 1\n"
            "head 0   A B\n"
            "head 1   b a\n"
            "\n"
            "   worker  retrieval  local     cache   weights    memory\n"
            "A  w0              1      1  1.00 MiB  2.00 MiB  4.00 MiB\n"
            "B  w1              1      1  1.00 MiB  2.00 MiB  4.00 MiB\n"
            "upper case: retrieval heads; +: and on others. epoch 3, step 1.500 ms modelled, at "
            "least 1.200 ms "
            "(gap 25.0 %)\n");
  add(1, 0, 0, true);  // a second owner of (0, 0): a stripe
  EXPECT_THAT(DrawPlacementMap(placement, 2, 2, {false, true, 80}), HasSubstr("head 0   A+  B\n"));
}

TEST(PlacementMap, AHeadThatNobodyHoldsShows) {
  EXPECT_THAT(DrawPlacementMap(v1::Placement(), 1, 1, {false, true, 80}),
              HasSubstr("head 0   ?\n"));
}

}  // namespace
}  // namespace headlong
