#include "cli/placement_picture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace headlong {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

PlacementView TwoWorkers() {
  PlacementView view;
  view.layers = 2;
  view.kv_heads = 1;
  for (int rank = 0; rank < 2; ++rank) {
    v1::WorkerShare& share = *view.placement.add_workers();
    share.set_worker_id(absl::StrCat("w<", rank, "&"));
    share.set_memory_bytes(rank == 0 ? 1000 : 500);
    share.set_weights_bytes(250);
    share.set_cache_bytes(250);
    v1::HeadShare& head = *share.add_heads();
    head.set_retrieval(true);
    head.set_stripe_index(rank);
    head.set_stripe_count(2);
    v1::WorkerTimes& times = *view.report.add_workers();
    times.add_attention_ms(rank == 0 ? 2.0 : 1.0);
    times.add_attention_ms(0);
    times.add_mlp_ms(0.5);
    times.add_mlp_ms(0.5);
  }
  return view;
}

TEST(PlacementBars, MemoryAndTimes) {
  const std::string text = DrawPlacementBars(TwoWorkers(), {false, false, 66});
  EXPECT_THAT(text, HasSubstr("w<0&        ##########==========...................."
                              " 1000 B\n"));
  EXPECT_THAT(text, HasSubstr("w<1&        ##########========== 500 B\n"));
  EXPECT_THAT(text, HasSubstr("the highest is 2.000 ms"));
  EXPECT_THAT(text, HasSubstr("attention  # \n"));
  EXPECT_THAT(text, HasSubstr("MLP        ::\n"));
}

TEST(PlacementSvg, HasEveryPartAndEscapesNames) {
  const std::string svg = PlacementSvg(TwoWorkers());
  EXPECT_THAT(svg, HasSubstr("<svg xmlns="));
  EXPECT_THAT(svg, HasSubstr("w&lt;0&amp;"));
  EXPECT_THAT(svg, Not(HasSubstr("w<0&")));
  EXPECT_THAT(svg, HasSubstr("height=\"6.50\"")) << "half a head for each owner";
  EXPECT_THAT(svg, HasSubstr("full height is 2.000 ms"));
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
}

TEST(PlacementSvg, NothingToDraw) { EXPECT_THAT(PlacementSvg({}), HasSubstr("</svg>")); }

}  // namespace
}  // namespace headlong
