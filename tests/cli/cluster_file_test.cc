// Simulated clusters from text: what is read, and what is refused by name.
#include "cli/cluster_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace headlong {
namespace {

using ::testing::HasSubstr;

TEST(ClusterFile, WorkersAreCountedAndNamed) {
  const auto cluster = ParseCluster(
      R"({"workers":[{"id":"big","memory_bytes":100,"bandwidth_bytes_per_s":5e12,"flops":1e15},)"
      R"({"id":"small","memory_bytes":10,"bandwidth_bytes_per_s":1e12,)"
      R"("weight_bytes_per_s":5e11,"count":2}],)"
      R"("link":{"sum_latency_s":1e-5,"bandwidth_bytes_per_s":4e11}})",
      "cluster.json");
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  ASSERT_EQ(cluster->workers.size(), 3u);
  EXPECT_EQ(cluster->workers[0].id, "big");
  EXPECT_EQ(cluster->workers[0].matmul_flops, 1e15);
  EXPECT_EQ(cluster->workers[0].weight_bytes_per_s, 0) << "as it reads caches";
  EXPECT_EQ(cluster->workers[1].id, "small-0");
  EXPECT_EQ(cluster->workers[1].weight_bytes_per_s, 5e11);
  EXPECT_EQ(cluster->workers[2].id, "small-1");
  EXPECT_EQ(cluster->workers[2].memory_bytes, 10);
  EXPECT_EQ(cluster->link.sum_latency_s, 1e-5);
  EXPECT_EQ(cluster->link.bytes_per_s, 4e11);
}

TEST(ClusterFile, WhatIsWrongIsNamed) {
  const auto refusal = [](const char* text) {
    const auto cluster = ParseCluster(text, "c.json");
    EXPECT_FALSE(cluster.ok()) << text;
    return std::string(cluster.status().message());
  };
  EXPECT_THAT(refusal("{"), HasSubstr("c.json"));
  EXPECT_THAT(refusal("{}"), HasSubstr("workers: must be a list"));
  EXPECT_THAT(refusal(R"({"workers":[],"link":{}})"), HasSubstr("not empty"));
  EXPECT_THAT(refusal(R"({"workers":[{"id":"a"}]})"), HasSubstr("workers[0]: memory_bytes"));
  EXPECT_THAT(refusal(R"({"workers":[{"id":"a","memory":1}]})"),
              HasSubstr("workers[0]: unknown field \"memory\""));
  EXPECT_THAT(refusal(R"({"workers":[{"id":"a","memory_bytes":1,"bandwidth_bytes_per_s":0}]})"),
              HasSubstr("bandwidth_bytes_per_s: must be at least 1, is 0"));
  EXPECT_THAT(
      refusal(R"({"workers":[{"id":"a","memory_bytes":1,"bandwidth_bytes_per_s":1,"count":0}]})"),
      HasSubstr("count"));
  EXPECT_THAT(refusal(R"({"workers":[{"id":"a","memory_bytes":1,"bandwidth_bytes_per_s":1},)"
                      R"({"id":"a","memory_bytes":1,"bandwidth_bytes_per_s":1}]})"),
              HasSubstr("two workers have the id \"a\""));
  EXPECT_THAT(refusal(R"({"workers":[{"id":"a","memory_bytes":1,"bandwidth_bytes_per_s":1}],)"
                      R"("link":{"sum_latency_s":-1}})"),
              HasSubstr("sum_latency_s: must be at least 0"));
}

}  // namespace
}  // namespace headlong
