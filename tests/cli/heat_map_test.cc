// Heat maps: the same cells in the terminal and as SVG.
#include "cli/heat_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "cli/cost_curve_svg.h"
#include "cli/recall_map.h"
#include "cli/svg.h"

namespace headlong {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

int Count(const std::string& text, const std::string& word) {
  int count = 0;
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++count;
  return count;
}

HeatMap TwoByTwo() {
  HeatMap map;
  map.title = "scores of <a & b>";
  map.column_name = "layer";
  map.row_name = "head";
  map.columns = {"0", "1"};
  map.rows = {"0", "1"};
  map.cells = {{0, "0", "first"},
               {1, "100", "second"},
               {0.5, "50", "third"},
               {std::numeric_limits<double>::quiet_NaN(), "?", "fourth"}};
  return map;
}

TEST(HeatMap, InTheTerminal) {
  EXPECT_EQ(DrawHeatMap(TwoByTwo(), {false, true, 80}),
            "scores of <a & b>\n"
            "layer      0   1\n"
            "head 0     0  50\n"
            "head 1   100   ?\n");
  EXPECT_THAT(DrawHeatMap(TwoByTwo(), {true, true, 80}), HasSubstr("\x1b[1;33m100\x1b[0m"));
}

TEST(HeatMap, AsSvg) {
  const std::string svg = HeatMapSvg(TwoByTwo());
  EXPECT_THAT(svg, HasSubstr("scores of &lt;a &amp; b>"));
  EXPECT_THAT(svg, HasSubstr("fill=\"#440154\"><title>first</title>"));
  EXPECT_THAT(svg, HasSubstr("fill=\"#fde725\"><title>second</title>"));
  EXPECT_THAT(svg, HasSubstr("fill=\"#21918d\"><title>third</title>"));
  EXPECT_THAT(svg, HasSubstr("fill=\"#8a8f98\"><title>fourth</title>"));
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
  EXPECT_EQ(HeatMapSvg(HeatMap()).find("nan"), std::string::npos);
}

TEST(RecallMap, CellsOfOneLengthAndDepthAreAdded) {
  const HeatMap map =
      RecallMap({{4096, 0.5, 10, 10}, {4096, 0.5, 10, 5}, {8192, 0, 4, 0}}, "recall: passkey");
  EXPECT_EQ(DrawHeatMap(map, {false, true, 80}),
            "recall: passkey\n"
            "tokens     4,096 8,192\n"
            "depth 0 %          0 %\n"
            "depth 50 %  75 %      \n");
  const std::string svg = HeatMapSvg(map);
  EXPECT_THAT(svg, HasSubstr("15 of 20 found at 4,096 tokens, depth 50 %"));
  EXPECT_EQ(Count(svg, "no trial"), 2);
  EXPECT_EQ(RecallMap({{256, -1, 1, 1}}, "").rows, std::vector<std::string>{"all"});
}

TEST(CostCurve, PointsStandWhereTheyWereMeasured) {
  CostPlot plot;
  plot.title = "KL over bytes";
  plot.full_bytes = 1000;
  plot.curve = {{100, 0.1}, {500, 0.001}, {1000, 0}};
  plot.points = {{"rule", 500, 0.001}, {"all", 1000, 0}};
  const std::string svg = CostCurveSvg(plot);
  EXPECT_THAT(svg, HasSubstr("rule: 0.500 of the full cache, KL 0.001"));
  // A measured point on the curve: the line passes through its centre.
  const size_t circle = svg.find("<circle cx=\"");
  ASSERT_NE(circle, std::string::npos);
  const std::string x = svg.substr(circle + 12, svg.find('"', circle + 12) - circle - 12);
  EXPECT_THAT(svg.substr(svg.find("<polyline"), 120), HasSubstr(" " + x + ","));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(CostCurveSvg(CostPlot()), Not(HasSubstr("nan")));
}

TEST(Svg, TextAndAttributesAreEscaped) {
  EXPECT_EQ(XmlEscaped("<a href=\"x&y\">"), "&lt;a href=&quot;x&amp;y&quot;>");
  SvgCanvas canvas;
  canvas.Rect({0, 0}, 0, 5, "#123456");
  canvas.Rect({1, 2}, 3, 4, "#abcdef", "a < b");
  const std::string svg = canvas.Document(10, 20);
  EXPECT_THAT(svg, Not(HasSubstr("#123456")));
  EXPECT_THAT(svg, HasSubstr("a &lt; b"));
  EXPECT_THAT(svg, HasSubstr("viewBox=\"0 0 10 20\""));
  EXPECT_EQ(HexColour(0, 0.5, 2), "#0080ff");
}

}  // namespace
}  // namespace headlong
