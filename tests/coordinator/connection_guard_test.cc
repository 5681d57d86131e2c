// Connections of strangers, over sockets of this machine: which are cut, which are not.
#include "coordinator/connection_guard.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace headlong {
namespace {

constexpr uint64_t kAllowance = ConnectionGuard::kLimits.each_bytes;

TEST(PeerName, IsTheSameForSocketsAndGrpc) {
  EXPECT_EQ(PeerName("ipv4:127.0.0.1:7000"), "127.0.0.1 7000");
  EXPECT_EQ(PeerName("ipv6:%5B::1%5D:7000"), "::1 7000");
  EXPECT_EQ(PeerName("ipv6:[::1]:7000"), "::1 7000");
  EXPECT_EQ(PeerName("ipv6:%5Bfe80::1%252%5D:7000"), "fe80::1 7000");
  EXPECT_EQ(PeerName(""), "");
  EXPECT_EQ(PeerName("unix:"), "unix ");
}

// A connection over loopback: what a port accepted, and who connected to it.
class Pair {
 public:
  Pair() {
    const int listening = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in name = {};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(name);
    auto* any = reinterpret_cast<sockaddr*>(&name);
    EXPECT_EQ(bind(listening, any, length), 0);
    EXPECT_EQ(listen(listening, 1), 0);
    getsockname(listening, any, &length);
    stranger = socket(AF_INET, SOCK_STREAM, 0);
    EXPECT_EQ(connect(stranger, any, length), 0);
    accepted = accept(listening, nullptr, nullptr);
    close(listening);
    sockaddr_in own = {};
    getsockname(stranger, reinterpret_cast<sockaddr*>(&own), &length);
    peer = "ipv4:127.0.0.1:" + std::to_string(ntohs(own.sin_port));
  }
  ~Pair() {
    close(stranger);
    if (accepted >= 0) close(accepted);
  }
  void CloseAccepted() {
    shutdown(accepted, SHUT_RDWR);
    close(accepted);
    accepted = -1;
  }

  // Sends while somebody reads, as gRPC would. False: the connection is gone.
  bool Send(uint64_t bytes) {
    std::vector<char> chunk(16 << 10);
    while (bytes > 0) {
      const size_t now = std::min<uint64_t>(bytes, chunk.size());
      if (send(stranger, chunk.data(), now, MSG_NOSIGNAL) != static_cast<ssize_t>(now))
        return false;
      if (recv(accepted, chunk.data(), now, MSG_WAITALL) != static_cast<ssize_t>(now)) return false;
      bytes -= now;
    }
    return true;
  }
  bool Stands() {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    return Send(1);
  }

  int accepted, stranger;
  std::string peer;
};

class Guard : public testing::Test {
 protected:
  Guard() : guard_(*ConnectionGuard::Start(0, &cut_)) {}

  // A connection ends a moment before it is counted.
  bool OneIsCut() {
    for (int i = 0; i < 500 && cut_.Value() < 1; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return cut_.Value() == 1;
  }

  prometheus::Counter cut_;
  std::shared_ptr<ConnectionGuard> guard_;
};

TEST_F(Guard, CutsWhoSendsWithoutEnd) {
  Pair pair;
  ASSERT_TRUE(guard_->Watch(pair.accepted));
  EXPECT_TRUE(pair.Send(kAllowance - 1));
  EXPECT_TRUE(pair.Stands());
  EXPECT_EQ(cut_.Value(), 0);
  EXPECT_FALSE(pair.Send(64 << 20));
  EXPECT_TRUE(OneIsCut());
}

TEST_F(Guard, CutsWhatNobodyReads) {
  Pair pair;
  ASSERT_TRUE(guard_->Watch(pair.accepted));
  ASSERT_TRUE(pair.Send(kAllowance - 1000));
  const std::vector<char> more(2000);
  EXPECT_EQ(send(pair.stranger, more.data(), more.size(), MSG_NOSIGNAL), 2000);
  shutdown(pair.stranger, SHUT_WR);
  EXPECT_TRUE(OneIsCut());
  char byte;
  EXPECT_LT(recv(pair.accepted, &byte, 1, MSG_DONTWAIT), 0) << "what it sent is still there";
}

TEST_F(Guard, LetsGoOfWhoMadeACall) {
  Pair pair;
  ASSERT_TRUE(guard_->Watch(pair.accepted));
  EXPECT_TRUE(pair.Send(1000));
  guard_->CallBegan(pair.peer, /*by_anybody=*/false);
  EXPECT_TRUE(pair.Send(64 << 20));
  EXPECT_TRUE(pair.Stands());
  EXPECT_EQ(cut_.Value(), 0);
}

TEST_F(Guard, CallsOfAnybodyCountAnew) {
  Pair pair;
  ASSERT_TRUE(guard_->Watch(pair.accepted));
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(pair.Send(kAllowance / 2));
    guard_->CallBegan(pair.peer, /*by_anybody=*/true);
  }
  EXPECT_TRUE(pair.Stands());
  EXPECT_FALSE(pair.Send(64 << 20));
}

TEST_F(Guard, OthersStand) {
  Pair loud, calm;
  ASSERT_TRUE(guard_->Watch(loud.accepted));
  ASSERT_TRUE(guard_->Watch(calm.accepted));
  guard_->CallBegan("ipv4:127.0.0.1:1", /*by_anybody=*/false);  // of a connection that is gone
  EXPECT_FALSE(loud.Send(64 << 20));
  EXPECT_TRUE(calm.Stands());
}

TEST_F(Guard, DescriptorsThatAreUsedAgainBeginAnew) {
  for (int i = 0; i < 10; ++i) {
    Pair pair;
    ASSERT_TRUE(guard_->Watch(pair.accepted));
    ASSERT_TRUE(pair.Send(kAllowance - 1000));
    pair.CloseAccepted();
  }
  EXPECT_EQ(cut_.Value(), 0);
}

TEST_F(Guard, ManyAtOnce) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int j = 0; j < 50; ++j) {
        Pair pair;
        ASSERT_TRUE(guard_->Watch(pair.accepted));
        if (i % 2 == 0) guard_->CallBegan(pair.peer, j % 2 == 0);
        EXPECT_TRUE(pair.Send(1000));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(cut_.Value(), 0);
}

}  // namespace
}  // namespace headlong
