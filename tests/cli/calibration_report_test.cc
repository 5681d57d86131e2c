// The report of a calibration: every part that was measured, and nothing from elsewhere.
#include "cli/calibration_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/head_heat_maps.h"

namespace headlong {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Evidence SmallEvidence() {
  Evidence evidence;
  evidence.model = "tiny <model>";
  evidence.shape = {2, 2};
  evidence.head_dim = 64;
  evidence.element_bytes = 2;
  evidence.context = 4096;
  evidence.scores = {2, 2, {0.1, 0.2, 0.9, 0.0}, {0.0, 0.5, 0.25, 1.0}};
  for (int i = 0; i < 4; ++i) {
    evidence.costs.push_back({i / 2, i % 2, 4, 256, true, i == 3 ? 2.5 : 0.001 * i});
    evidence.costs.push_back({i / 2, i % 2, 4, 1024, true, i == 3 ? 2.0 : 0.0001});
  }
  HeadPolicy full, local;
  full.name = "retrieval";
  local.name = "local";
  local.sinks = 4;
  local.window_tokens = 256;
  const Plan chosen = Plan::FromPolicies(evidence.shape, {local, local, local, full});
  evidence.plans.push_back({"chosen", chosen, 0.004, {{4096, 0.5, 20, 19}}});
  local.window_tokens = 512;
  evidence.plans.push_back(
      {"other", Plan::FromPolicies(evidence.shape, {full, full, local, full}), 0.002, {}});
  return evidence;
}

TEST(CalibrationReport, NumbersAsJson) {
  // One lane: 1 MiB in full, 70,144 bytes at 256 and 135,680 at 512.
  EXPECT_EQ(ReportJson(SmallEvidence()).dump(),
            R"({"model":"tiny <model>","context":4096,"full_cache_bytes":4194304,"plans":[)"
            R"({"name":"chosen","cache_bytes":1259008,"share":0.3001708984375,)"
            R"("retrieval_heads":1,"kl":0.004,"predicted_kl":0.003,"recall":0.95},)"
            R"({"name":"other","cache_bytes":3281408,"share":0.7823486328125,)"
            R"("retrieval_heads":3,"kl":0.002,"predicted_kl":null,"recall":null}]})");
}

TEST(CalibrationReport, ThePageHasEveryPart) {
  const std::string html = ReportHtml(SmallEvidence()).value();
  for (const char* part :
       {"<title>Calibration of tiny &lt;model></title>", "induction score", "echo score",
        "KL over bytes", "<td>chosen</td>", "<td>0.950</td>", "19 of 20 found", "What plans keep",
        "prefers-color-scheme: dark", "<td>layer 1 head 1</td>"}) {
    EXPECT_THAT(html, HasSubstr(part));
  }
  for (const char* outside : {"<script", "<link", "src=", "href=", "url(", "@import"}) {
    EXPECT_THAT(html, Not(HasSubstr(outside)));
  }
  EXPECT_TRUE(html.ends_with("</body></html>\n"));
}

TEST(CalibrationReport, PartsThatWereNotMeasuredAreLeftOut) {
  Evidence evidence = SmallEvidence();
  evidence.scores = {};
  evidence.plans.clear();
  const std::string html = ReportHtml(evidence).value();
  EXPECT_THAT(html, Not(HasSubstr("induction")));
  EXPECT_THAT(html, Not(HasSubstr("<h2>Plans")));
  EXPECT_THAT(html, HasSubstr("KL over bytes"));
  evidence.costs.clear();
  EXPECT_THAT(ReportHtml(evidence).value(), Not(HasSubstr("<svg")));
  EXPECT_THAT(ReportText(evidence, {}), HasSubstr("2 layers of 2 KV heads"));
}

TEST(CalibrationReport, InTheTerminal) {
  const std::string text = ReportText(SmallEvidence(), {false, true, 80});
  EXPECT_THAT(text, HasSubstr("induction score, %\n"
                              "layer      0   1\n"
                              "head 0     0  25\n"
                              "head 1    50 100\n"));
  EXPECT_THAT(text, HasSubstr("layer       0    1\n"
                              "head 0      0 2e-3\n"
                              "head 1   1e-3  2.5\n"));
  EXPECT_THAT(text, HasSubstr("chosen                1  1.20 MiB  30.0 %  0.0040        0.0030"));
}

TEST(ScopeMap, ShowsTokensAndTheirShareOfTheContext) {
  Evidence evidence = SmallEvidence();
  evidence.scopes = {1024, 17912.3, 250.3, 0.5};
  const HeatMap map = ScopeMap(evidence);
  EXPECT_EQ(map.cells[0].value, 0.25);
  EXPECT_EQ(map.cells[0].label, "1,024");
  EXPECT_EQ(map.cells[1].value, 1);
  EXPECT_EQ(map.cells[1].tooltip, "layer 0 head 1: 17,913 tokens");
  EXPECT_EQ(map.cells[3].label, "1");
  EXPECT_EQ(map.high, "4,096");
  EXPECT_THAT(ReportHtml(evidence).value(), HasSubstr("layer 1 head 0: 251 tokens"));
  EXPECT_THAT(ReportText(evidence, {false, true, 80}), HasSubstr("17,913"));
}

TEST(CostMap, ShowsTheSmallestWindow) {
  Evidence evidence = SmallEvidence();
  evidence.costs.pop_back();  // of the last head only the smaller window is left
  evidence.costs.insert(evidence.costs.begin(), {1, 1, 4, 256, false, 7});
  EXPECT_EQ(CostMap(evidence).cells[3].label, "2.5");
  evidence.costs.erase(evidence.costs.end() - 1);
  EXPECT_EQ(CostMap(evidence).cells[3].label, "7.0");
  evidence.costs.erase(evidence.costs.begin());
  EXPECT_EQ(CostMap(evidence).cells[3].label, "?");
}

}  // namespace
}  // namespace headlong
