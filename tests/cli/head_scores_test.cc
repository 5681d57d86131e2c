// Published head patterns: what is read, what is refused by name, and that what is written is read
// again. The patterns that authors published lie beside a checkout, if at all.
#include "cli/head_scores.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/json.h"
#include "tests/support/paths.h"

namespace headlong {
namespace {

using ::testing::HasSubstr;

int FullHeads(const Plan& plan) {
  int full = 0;
  for (int layer = 0; layer < plan.layers(); ++layer) {
    for (int head = 0; head < plan.kv_heads(); ++head) full += plan.policy(layer, head).full();
  }
  return full;
}

const PlanShape kShape{2, 4, ""};

TEST(HeadScores, ListsOfZeroAndOne) {
  const auto plan = PlanFromScores("1 0 0 1\n0\t0\t1\t0\n", kShape, {}, "list");
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(FullHeads(*plan), 3);
  EXPECT_TRUE(plan->policy(0, 3).full());
  EXPECT_TRUE(plan->policy(1, 2).full());
  EXPECT_EQ(plan->policy(0, 1).sinks, 4);
  EXPECT_EQ(plan->policy(0, 1).window_tokens, 256);
}

TEST(HeadScores, SparsityTakesTheLowestAndOfEqualOnesTheLater) {
  const auto plan =
      PlanFromScores("0.9,-1e-5,0.5,0.5\n0.5,1,0,0.5", kShape, {0.5, 8, 64}, "scores");
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(FullHeads(*plan), 4);
  EXPECT_TRUE(plan->policy(0, 0).full());
  EXPECT_TRUE(plan->policy(0, 2).full());
  EXPECT_TRUE(plan->policy(0, 3).full());
  EXPECT_FALSE(plan->policy(1, 0).full());
  EXPECT_TRUE(plan->policy(1, 1).full());
  EXPECT_EQ(plan->policy(1, 0).window_tokens, 64);
}

TEST(HeadScores, WhatIsWrongIsNamed) {
  const auto refusal = [](const char* text) {
    const auto plan = PlanFromScores(text, kShape, {}, "heads.tsv");
    EXPECT_FALSE(plan.ok()) << text;
    return std::string(plan.status().message());
  };
  EXPECT_THAT(refusal("1 0 0\n1 0 0 0\n"), HasSubstr("line 1: has 3 columns"));
  EXPECT_THAT(refusal("1 0 0 0\n1 0 x 0\n"), HasSubstr("line 2: column 3: must be a number"));
  EXPECT_THAT(refusal("1 0 0 0\n1 0 nan 0\n"), HasSubstr("must be a number"));
  EXPECT_THAT(refusal("1 0 0 0\n"), HasSubstr("has 1 lines, but the model has 2 layers"));
}

TEST(HeadScores, QueryHeadsCountByTheHighestOfTheirGroup) {
  ScoreOptions options;
  options.q_heads = 4;
  const auto plan = PlanFromScores("0 1 0 0\n.4 .3 .1 .6\n", {2, 2}, options, "scores");
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_TRUE(plan->policy(0, 0).full());
  EXPECT_FALSE(plan->policy(0, 1).full());
  EXPECT_FALSE(plan->policy(1, 0).full());
  EXPECT_TRUE(plan->policy(1, 1).full());
  const auto refused = PlanFromScores("0 1 0\n", {1, 2}, options, "scores");
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("has 3 columns, but the model has 2 KV heads (4 query heads)"));
}

TEST(HeadScores, RazorListsAreUnited) {
  const auto plan = PlanFromScores(
      R"({"prefix_matching":{"0":[1,3],"1":[]},"copying":{"1":[2],"0":[3]}})", kShape, {}, "list");
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(FullHeads(*plan), 3);
  EXPECT_TRUE(plan->policy(0, 1).full());
  EXPECT_TRUE(plan->policy(0, 3).full());
  EXPECT_TRUE(plan->policy(1, 2).full());
}

std::string RefusalOf(const std::string& text, const ScoreOptions& options) {
  const auto plan = PlanFromScores(text, kShape, options, "heads");
  EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument) << text;
  return std::string(plan.status().message());
}

TEST(HeadScores, FormatsSayWhatTheyAreNot) {
  ScoreOptions razor, kvzip, duo;
  razor.format = HeadFormat::kRazor;
  kvzip.format = HeadFormat::kKvzip;
  duo.format = HeadFormat::kDuo;
  const std::string scores = "0.5 0 0 1\n0 0 1 1\n", list = "1 0 0 1\n0 0 1 1\n";
  EXPECT_THAT(RefusalOf(scores, razor), HasSubstr("a list has 0 and 1, not 0.5"));
  EXPECT_THAT(RefusalOf(scores, kvzip), HasSubstr("need a sparsity"));
  EXPECT_THAT(RefusalOf("{}", duo), HasSubstr("line 1: has 1 columns"));
  EXPECT_THAT(RefusalOf("{}", razor), HasSubstr("neither prefix_matching nor copying"));
  EXPECT_THAT(RefusalOf(R"({"heads":{}})", {}), HasSubstr("unknown field \"heads\""));
  EXPECT_THAT(RefusalOf(R"({"copying":{"2":[0]}})", {}),
              HasSubstr("copying[\"2\"]: must be a layer in [0, 1]"));
  EXPECT_THAT(RefusalOf(R"({"copying":{"1":[4]}})", {}), HasSubstr("heads in [0, 3], has 4"));
  EXPECT_THAT(RefusalOf(R"({"copying":{"1":4}})", {}), HasSubstr("must be an array of heads"));
  razor.sparsity = kvzip.sparsity = 0.5;
  EXPECT_THAT(RefusalOf(list, razor), HasSubstr("takes no sparsity"));
  EXPECT_THAT(RefusalOf("2 0 0 1\n0 0 1 1\n", kvzip), HasSubstr("in [0, 1], not 2"));
}

TEST(HeadScores, WhatIsWrittenIsReadAgain) {
  const auto plan = PlanFromScores("1 0 0 1\n0 1 1 0\n", kShape, {}, "list");
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(HeadPattern(*plan, HeadFormat::kDuo), "1\t0\t0\t1\n0\t1\t1\t0\n");
  EXPECT_EQ(HeadPattern(*plan, HeadFormat::kRazor),
            "{\"prefix_matching\":{\"0\":[0,3],\"1\":[1,2]},\"copying\":{}}\n");
  for (const HeadFormat format : {HeadFormat::kDuo, HeadFormat::kRazor, HeadFormat::kKvzip}) {
    ScoreOptions options;
    options.format = format;
    if (format == HeadFormat::kKvzip) options.sparsity = 0.5;
    const auto again = PlanFromScores(HeadPattern(*plan, format), kShape, options, "again");
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(again->ToJson(), plan->ToJson());
  }
}

struct Published {
  const char* file;
  PlanShape shape;
  HeadFormat format;
  std::optional<double> sparsity;
  int retrieval_heads;
};

// DuoAttention states half of the heads for models with grouped queries and a quarter for
// Llama-2-7B; RazorAttention's lists are used as they are.
const Published kPublished[] = {
    {"duo__Llama-2-7B-32K-Instruct.tsv", {32, 32}, HeadFormat::kDuo, 0.75, 256},
    {"duo__Llama-3-8B-Instruct-Gradient-1048k.tsv", {32, 8}, HeadFormat::kDuo, 0.5, 128},
    {"duo__Meta-Llama-3.1-8B-Instruct.tsv", {32, 8}, HeadFormat::kDuo, 0.5, 128},
    {"duo__Mistral-7B-Instruct-v0.2.tsv", {32, 8}, HeadFormat::kDuo, 0.5, 128},
    {"razor__llama-80-layers.tsv", {80, 8}, HeadFormat::kRazor, std::nullopt, 208},
    {"razor__glm-4-9b.tsv", {40, 4}, HeadFormat::kRazor, std::nullopt, 48},
    {"kvzip__llama3.1-8b-scbench_qa_eng-0.tsv", {32, 8}, HeadFormat::kKvzip, 0.4, 154},
    {"kvzip__qwen2.5-7b-scbench_repoqa-0.tsv", {28, 4}, HeadFormat::kKvzip, 0.5, 56},
};

TEST(VectorsHeadScores, PublishedPatternsHaveTheCountsThatAreStated) {
  const auto folder = SharedPath("data/heads");
  if (!folder) GTEST_SKIP() << "data/heads is not beside this checkout (HEADLONG_SHARED)";
  for (const Published& published : kPublished) {
    const auto text = ReadFile(*folder / published.file);
    ASSERT_TRUE(text.ok()) << text.status();
    ScoreOptions options;
    options.sparsity = published.sparsity;
    for (const HeadFormat format : {published.format, HeadFormat::kAuto}) {
      options.format = format;
      const auto plan = PlanFromScores(*text, published.shape, options, published.file);
      ASSERT_TRUE(plan.ok()) << plan.status();
      EXPECT_EQ(FullHeads(*plan), published.retrieval_heads) << published.file;
      const auto again =
          PlanFromScores(HeadPattern(*plan, HeadFormat::kRazor), published.shape, {}, "again");
      ASSERT_TRUE(again.ok()) << again.status();
      EXPECT_EQ(again->ToJson(), plan->ToJson()) << published.file;
    }
  }
}

}  // namespace
}  // namespace headlong
