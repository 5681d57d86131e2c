// The evidence file: read as it was written, and refused by the name of what is wrong.
#include "coordinator/calibration/evidence_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/json.h"

namespace headlong {
namespace {

using ::testing::HasSubstr;

Evidence Small() {
  Evidence evidence;
  evidence.model = "tiny";
  evidence.shape = {2, 1, std::string(64, 'a')};
  evidence.head_dim = 64;
  evidence.element_bytes = 2;
  evidence.context = 8192;
  evidence.scores = {2, 1, {0.25, 0.5}, {0.125, 1.0}, {0, 0.75}, {0.5, 0.96875}};
  evidence.scopes = {80.5, 1e9};
  evidence.groups = {{{{1, 0}, {0, 0}}, 64, 0.5, 0.25}};
  evidence.costs = {{0, 0, 4, 256, true, 0.1}, {1, 0, 0, 64, false, 1e-9}};
  evidence.plans = {{"paper's rule", Plan::Local(2, 1), 0.3, {{8192, 0.5, 40, 39}}},
                    {"full", Plan::Full(2, 1), 0, {}}};
  return evidence;
}

TEST(EvidenceJson, IsReadAsItWasWritten) {
  const std::string text = EvidenceJson(Small());
  const auto evidence = ParseEvidence(text, "evidence.json");
  ASSERT_TRUE(evidence.ok()) << evidence.status();
  EXPECT_EQ(EvidenceJson(*evidence), text);
  EXPECT_EQ(evidence->scores.induction, Small().scores.induction);
  EXPECT_EQ(evidence->scopes, Small().scopes);
  EXPECT_EQ(evidence->scores.needle, Small().scores.needle);
  EXPECT_EQ(evidence->scores.similarity, Small().scores.similarity);
  EXPECT_EQ(evidence->groups[0].heads, Small().groups[0].heads);
  EXPECT_EQ(evidence->groups[0].sum, 0.25);
  EXPECT_EQ(evidence->costs[1].compensation, false);
  EXPECT_EQ(evidence->costs[1].kl, 1e-9);
  EXPECT_EQ(evidence->plans[0].needle[0].correct, 39);
  EXPECT_EQ(evidence->shape.model_fingerprint, std::string(64, 'a'));
  EXPECT_EQ(evidence->FullBytes(), 2 * 8192 * 64 * 2 * 2);
  EXPECT_EQ(evidence->BytesOf(evidence->plans[1].plan), evidence->FullBytes());
}

TEST(EvidenceJson, PartsMayBeAbsent) {
  const auto evidence = ParseEvidence(
      R"({"version":1,"model":"m","layers":1,"kv_heads":1,"head_dim":8,"element_bytes":4,)"
      R"("context":64})",
      "e");
  ASSERT_TRUE(evidence.ok()) << evidence.status();
  EXPECT_TRUE(evidence->scores.echo.empty());
  EXPECT_TRUE(evidence->costs.empty());
}

TEST(EvidenceJson, WhatIsWrongIsNamed) {
  const auto refusal = [](const std::string& path, const std::string& value) {
    Json json = Json::parse(EvidenceJson(Small()));
    json[Json::json_pointer(path)] = Json::parse(value);
    const auto evidence = ParseEvidence(json.dump(), "e.json");
    EXPECT_EQ(evidence.status().code(), absl::StatusCode::kInvalidArgument) << path;
    return std::string(evidence.status().message());
  };
  EXPECT_THAT(refusal("/scopes", "[[1]]"), HasSubstr("e.json: scopes: must be an array of 2"));
  EXPECT_THAT(refusal("/version", "2"), HasSubstr("e.json: version"));
  EXPECT_THAT(refusal("/layers", "0"), HasSubstr("e.json: layers"));
  EXPECT_THAT(refusal("/extra", "1"), HasSubstr("unknown field \"extra\""));
  EXPECT_THAT(refusal("/scores/echo", "[[1]]"), HasSubstr("echo: must be an array of 2 layers"));
  EXPECT_THAT(refusal("/scores/echo/0", "[1,2]"), HasSubstr("an array of 1 numbers"));
  EXPECT_THAT(refusal("/scores/echo/0/0", "\"x\""), HasSubstr("must be numbers, has \"x\""));
  EXPECT_THAT(refusal("/scores/needle", "[[1]]"), HasSubstr("needle: must be an array of 2"));
  EXPECT_THAT(refusal("/scores/similarity", "[1]"), HasSubstr("similarity: must be 2 numbers"));
  EXPECT_THAT(refusal("/scores/similarity/1", "null"), HasSubstr("must be 2 numbers"));
  EXPECT_THAT(refusal("/groups/0/heads", "[[0,1]]"), HasSubstr("groups[0]: heads: must be pairs"));
  EXPECT_THAT(refusal("/groups/0/heads", "[]"), HasSubstr("groups[0]: heads: is missing"));
  EXPECT_THAT(refusal("/groups/0/sum", "true"), HasSubstr("groups[0]: sum"));
  EXPECT_THAT(refusal("/costs", "{}"), HasSubstr("costs: must be an array"));
  EXPECT_THAT(refusal("/costs/1/layer", "2"), HasSubstr("costs[1]: layer"));
  EXPECT_THAT(refusal("/costs/0/window_tokens", "0"), HasSubstr("costs[0]: window_tokens"));
  EXPECT_THAT(refusal("/costs/0/compensation", "\"median\""), HasSubstr("compensation"));
  EXPECT_THAT(refusal("/plans/0/plan/layers", "3"), HasSubstr("plans[0]: plan: layers"));
  EXPECT_THAT(refusal("/plans/0/needle/0/correct", "41"), HasSubstr("needle: correct"));
  EXPECT_FALSE(ParseEvidence("", "e").ok());
}

}  // namespace
}  // namespace headlong
