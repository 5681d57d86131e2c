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

std::string Refusal(const v1::Placement& placement, int rank = 0) {
  return std::string(MakeShare(placement, rank, Config()).status().message());
}

TEST(Share, ReadsItsPart) {
  const auto share = MakeShare(TwoWorkers(), 1, Config());
  ASSERT_TRUE(share.ok()) << share.status();
  EXPECT_EQ(share->world, 2);
  EXPECT_FALSE(share->leader());
  EXPECT_EQ(share->heads[1], std::vector<int>{1});
  EXPECT_EQ(share->mlp_columns[0], (IndexRange{4, 10}));
  EXPECT_EQ(share->vocab_rows, (IndexRange{30, 100}));
  EXPECT_EQ(share->lanes.size(), 2u);
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
