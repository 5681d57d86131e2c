#include "worker/share.h"

#include <gtest/gtest.h>

#include "common/status.h"

namespace headlong {
namespace {

ModelConfig Config() {
  ModelConfig config;
  config.layers = 2;
  config.kv_heads = 2;
  config.q_heads = 4;
  config.intermediate_size = 10;
  config.vocab_size = 100;
  return config;
}

v1::Placement TwoWorkers() {
  v1::Placement placement;
  for (int rank = 0; rank < 2; ++rank) {
    v1::WorkerShare& share = *placement.add_workers();
    for (int layer = 0; layer < 2; ++layer) {
      v1::HeadShare& head = *share.add_heads();
      head.set_layer(layer);
      head.set_head(rank);
      head.set_stripe_count(1);
      v1::Range& columns = *share.add_mlp_columns();
      columns.set_begin(rank * 4);
      columns.set_end(rank == 0 ? 4 : 10);
    }
    share.mutable_vocab_rows()->set_begin(rank * 30);
    share.mutable_vocab_rows()->set_end(rank == 0 ? 30 : 100);
  }
  return placement;
}

// Layer 0 full, layer 1 local.
Plan TwoPolicies() {
  auto plan = Plan::FromJson(
      R"({"version":1,"layers":2,"kv_heads":2,"policies":{"full":{},"local":{"window_tokens":64}},)"
      R"("default":"local","heads":[{"layer":0,"heads":[0,1],"policy":"full"}]})",
      {2, 2, "", {}}, "test");
  EXPECT_TRUE(plan.ok()) << plan.status();
  return *plan;
}

absl::StatusOr<Share> ShareOf(const v1::Placement& placement, int rank = 0) {
  return MakeShare(placement, rank, Config(), TwoPolicies());
}

std::string Refusal(const v1::Placement& placement, int rank = 0) {
  return std::string(ShareOf(placement, rank).status().message());
}

void AddStripe(v1::WorkerShare& share, int layer, int head, int index, int count) {
  v1::HeadShare& stripe = *share.add_heads();
  stripe.set_layer(layer);
  stripe.set_head(head);
  stripe.set_stripe_index(index);
  stripe.set_stripe_count(count);
}

// Head 0 of layer 0 lies 2 : 1 on ranks 0 and 1, head 1 1 : 1 on both; a third one holds nothing.
v1::Placement Split() {
  v1::Placement placement = TwoWorkers();
  v1::WorkerShare& third = *placement.add_workers();
  for (int layer = 0; layer < 2; ++layer) third.add_mlp_columns();
  third.mutable_vocab_rows()->set_begin(100);
  third.mutable_vocab_rows()->set_end(100);
  for (int rank = 0; rank < 2; ++rank) {
    v1::WorkerShare& share = *placement.mutable_workers(rank);
    const v1::HeadShare local = share.heads(1);
    share.clear_heads();
    for (int i = 0; i < 2 - rank; ++i) AddStripe(share, 0, 0, 2 * rank + i, 3);
    AddStripe(share, 0, 1, rank, 2);
    *share.add_heads() = local;
  }
  return placement;
}

TEST(Share, ReadsItsPart) {
  const auto share = ShareOf(TwoWorkers(), 1);
  ASSERT_TRUE(share.ok()) << share.status();
  EXPECT_EQ(share->world, 2);
  EXPECT_FALSE(share->leader());
  EXPECT_EQ(share->heads[1], std::vector<int>{1});
  EXPECT_EQ(share->mlp_columns[0], (IndexRange{4, 10}));
  EXPECT_EQ(share->vocab_rows, (IndexRange{30, 100}));
  EXPECT_EQ(share->lanes.size(), 2u);
  EXPECT_FALSE(share->split(0));
}

TEST(Share, KnowsTheOwnersOfSplitHeads) {
  const auto share = ShareOf(Split(), 1);
  ASSERT_TRUE(share.ok()) << share.status();
  EXPECT_EQ(share->heads[0], (std::vector<int>{0, 1}));
  EXPECT_EQ(share->lanes[0].stripes, (StripeRange{3, 2, 1}));
  EXPECT_FALSE(share->split(1));
  ASSERT_EQ(share->stripes[0].parts, 4);
  ASSERT_EQ(share->stripes[0].own.size(), 2u);
  const StripePart part = share->stripes[0].own[1];
  EXPECT_EQ(part.head, 1);
  EXPECT_EQ(part.part, 3);
  EXPECT_EQ(part.first_part, 2);
  EXPECT_EQ(part.owners, 2);
  const auto third = ShareOf(Split(), 2);
  ASSERT_TRUE(third.ok()) << third.status();
  EXPECT_TRUE(third->split(0));
  EXPECT_TRUE(third->stripes[0].own.empty());
  EXPECT_EQ(third->stripes[0].parts, 4);
}

TEST(Share, RefusesWhatIsNotThereExactlyOnce) {
  v1::Placement placement = TwoWorkers();
  placement.mutable_workers(1)->mutable_heads()->RemoveLast();
  EXPECT_NE(Refusal(placement).find("layer 1 head 1: nobody holds it"), std::string::npos);
  placement = TwoWorkers();
  *placement.mutable_workers(1)->add_heads() = placement.workers(0).heads(0);
  EXPECT_NE(Refusal(placement).find("layer 0 head 0: stripes from 0 of 1 are in two shares"),
            std::string::npos);
  placement = Split();
  placement.mutable_workers(0)->mutable_heads(1)->set_stripe_index(2);
  EXPECT_NE(Refusal(placement).find("side by side"), std::string::npos);
  placement = Split();
  placement.mutable_workers(1)->mutable_heads(0)->set_stripe_index(1);
  EXPECT_NE(Refusal(placement).find("layer 0 head 0: stripes from 1 of 3 are in two shares"),
            std::string::npos);
  placement = Split();
  placement.mutable_workers(1)->mutable_heads()->DeleteSubrange(0, 1);
  EXPECT_NE(Refusal(placement).find("layer 0 head 0: stripes [2, 3) of 3 are nobody's"),
            std::string::npos);
  placement = TwoWorkers();
  placement.mutable_workers(0)->mutable_heads(1)->set_stripe_count(2);
  AddStripe(*placement.mutable_workers(1), 1, 0, 1, 2);
  EXPECT_NE(Refusal(placement).find("layer 1 head 0: is a local head"), std::string::npos);
  placement = TwoWorkers();
  placement.mutable_workers(0)->mutable_mlp_columns(1)->set_end(3);
  EXPECT_NE(Refusal(placement).find("layer 1: MLP columns [3, 4) of 10 are nobody's"),
            std::string::npos);
  placement.mutable_workers(0)->mutable_mlp_columns(1)->set_end(5);
  EXPECT_NE(Refusal(placement, 1).find("layer 1: MLP columns from 4 of 10 are in two shares"),
            std::string::npos);
}

TEST(Share, RefusesWhatDoesNotFitTheModel) {
  EXPECT_NE(Refusal(TwoWorkers(), 2).find("rank 2"), std::string::npos);
  v1::Placement placement = TwoWorkers();
  placement.mutable_workers(0)->mutable_heads(0)->set_layer(2);
  EXPECT_NE(Refusal(placement).find("layer 2"), std::string::npos);
  placement = TwoWorkers();
  *placement.mutable_workers(0)->add_heads() = placement.workers(0).heads(0);
  EXPECT_NE(Refusal(placement).find("twice"), std::string::npos);
  placement = TwoWorkers();
  placement.mutable_workers(0)->mutable_heads(0)->set_stripe_index(1);
  EXPECT_NE(Refusal(placement).find("no such stripe"), std::string::npos);
  placement = TwoWorkers();
  placement.mutable_workers(0)->mutable_mlp_columns(1)->set_end(11);
  EXPECT_NE(Refusal(placement).find("MLP columns"), std::string::npos);
  placement = TwoWorkers();
  placement.mutable_workers(1)->mutable_vocab_rows()->set_begin(31);
  EXPECT_NE(Refusal(placement).find("go on at 30"), std::string::npos);
  placement = TwoWorkers();
  placement.mutable_workers(1)->mutable_vocab_rows()->set_end(99);
  EXPECT_NE(Refusal(placement).find("end at 99 of 100"), std::string::npos);
}

}  // namespace
}  // namespace headlong
