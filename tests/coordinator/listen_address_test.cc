#include "coordinator/listen_address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace headlong {
namespace {

TEST(ListenAddress, Loopback) {
  for (const char* address : {"127.0.0.1:7000", "127.8.9.10:0", "localhost:1", "[::1]:7000"}) {
    EXPECT_TRUE(IsLoopback(address)) << address;
  }
  for (const char* address : {"0.0.0.0:7000", "[::]:7000", "10.0.0.1:7000", "127.evil.org:7000",
                              "localhost.evil.org:1", "128.0.0.1:7", ":7000", "[::12]:1"}) {
    EXPECT_FALSE(IsLoopback(address)) << address;
  }
}

TEST(ListenAddress, BeyondLoopbackOnlyWithInsecure) {
  EXPECT_TRUE(CheckListenAddress("127.0.0.1:0", "--listen", false, "--tls").ok());
  EXPECT_TRUE(CheckListenAddress("0.0.0.0:7000", "--listen", true, "--tls").ok());
  const absl::Status refused = CheckListenAddress("0.0.0.0:7000", "--listen", false, "--tls");
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()),
              testing::AllOf(testing::StartsWith("--listen: 0.0.0.0:7000"),
                             testing::HasSubstr("--tls"), testing::HasSubstr("--insecure")));
}

TEST(ListenAddress, NoHostOrPort) {
  for (const char* address : {"", "7000", "localhost", ":7000", "127.0.0.1:", "127.0.0.1:x",
                              "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:80:"}) {
    const absl::Status refused = CheckListenAddress(address, "--worker-listen", true, "--tls");
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << address;
    EXPECT_THAT(std::string(refused.message()), testing::StartsWith("--worker-listen: must be"));
  }
}

TEST(ListenAddress, WithPort) {
  EXPECT_EQ(WithPort("127.0.0.1:0", 7123), "127.0.0.1:7123");
  EXPECT_EQ(WithPort("[::1]:0", 7123), "[::1]:7123");
}

}  // namespace
}  // namespace headlong
