// The rules of gRPC's write side: one write in flight, one Finish, nothing after it, nothing after
// OnDone, and what is being written stays where it is.
#include "coordinator/stream_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

namespace headlong {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// Refuses what gRPC forbids.
class StrictReactor {
 public:
  void StartWrite(const std::string* message) {
    EXPECT_EQ(in_flight_, nullptr) << "two writes in flight";
    EXPECT_FALSE(finished_) << "a write after Finish";
    in_flight_ = message;
  }
  void Finish(const grpc::Status& status) {
    EXPECT_EQ(in_flight_, nullptr) << "Finish while a write is in flight";
    EXPECT_FALSE(finished_) << "Finish twice";
    finished_ = true;
    code_ = status.error_code();
  }

  void End(const absl::Status& status) { Finish(ToGrpc(status)); }

  // The write in flight is over.
  void Complete() {
    ASSERT_NE(in_flight_, nullptr);
    written_.push_back(*in_flight_);
    in_flight_ = nullptr;
  }
  void Drop() { in_flight_ = nullptr; }

  bool writing() const { return in_flight_ != nullptr; }
  bool finished() const { return finished_; }
  grpc::StatusCode code() const { return code_; }
  const std::vector<std::string>& written() const { return written_; }

 private:
  const std::string* in_flight_ = nullptr;
  bool finished_ = false;
  grpc::StatusCode code_ = grpc::StatusCode::UNKNOWN;
  std::vector<std::string> written_;
};

class Queue : public testing::Test {
 protected:
  void Written() {
    reactor_.Complete();
    queue_.Written(true);
  }
  void WriteAll() {
    while (reactor_.writing()) Written();
  }

  StrictReactor reactor_;
  StreamQueue<StrictReactor, std::string> queue_{&reactor_};
};

TEST_F(Queue, WritesInOrderOneAtATimeThenEnds) {
  for (const char* message : {"a", "b", "c"}) queue_.Send(message);
  queue_.End(absl::OkStatus());
  EXPECT_TRUE(queue_.writing());
  EXPECT_FALSE(reactor_.finished());
  WriteAll();
  EXPECT_THAT(reactor_.written(), ElementsAre("a", "b", "c"));
  EXPECT_TRUE(reactor_.finished());
  EXPECT_EQ(reactor_.code(), grpc::StatusCode::OK);
}

TEST_F(Queue, EndOfAnEmptyQueueIsAtOnceAndTheFirstOneCounts) {
  queue_.End(absl::NotFoundError("x"));
  queue_.End(absl::OkStatus());
  queue_.Send("late");
  EXPECT_EQ(reactor_.code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_FALSE(reactor_.writing());
}

TEST_F(Queue, SendsAfterTheEndAreDropped) {
  queue_.Send("a");
  queue_.End(absl::OkStatus());
  queue_.Send("late");
  WriteAll();
  EXPECT_THAT(reactor_.written(), ElementsAre("a"));
}

TEST_F(Queue, AbandonDropsWhatWaitsAndEndsAfterTheWriteInFlight) {
  for (const char* message : {"a", "b", "c"}) queue_.Send(message);
  queue_.Abandon(absl::CancelledError("gone"));
  EXPECT_FALSE(reactor_.finished());
  WriteAll();
  EXPECT_THAT(reactor_.written(), ElementsAre("a"));
  EXPECT_EQ(reactor_.code(), grpc::StatusCode::CANCELLED);
}

TEST_F(Queue, AbandonAfterTheEndKeepsItsStatus) {
  queue_.Send("a");
  queue_.Send("b");
  queue_.End(absl::OkStatus());
  queue_.Abandon(absl::CancelledError("gone"));
  WriteAll();
  EXPECT_THAT(reactor_.written(), ElementsAre("a"));
  EXPECT_EQ(reactor_.code(), grpc::StatusCode::OK);
  queue_.Abandon(absl::CancelledError("again"));
}

TEST_F(Queue, FailedWriteDropsTheRest) {
  queue_.Send("a");
  queue_.Send("b");
  reactor_.Drop();
  queue_.Written(false);
  EXPECT_FALSE(reactor_.writing());
  EXPECT_FALSE(reactor_.finished()) << "the end comes from who owns the stream";
  queue_.End(absl::CancelledError("gone"));
  EXPECT_TRUE(reactor_.finished());
}

TEST_F(Queue, NothingReachesAReactorThatIsDone) {
  queue_.Detach();
  queue_.Send("a");
  queue_.End(absl::OkStatus());
  queue_.Abandon(absl::OkStatus());
  EXPECT_FALSE(reactor_.writing());
  EXPECT_FALSE(reactor_.finished());
}

// What is in flight keeps its address while others are queued behind it.
TEST_F(Queue, MessageInFlightStaysWhereItIs) {
  queue_.Send("first");
  for (int i = 0; i < 10000; ++i) queue_.Send(std::to_string(i));
  queue_.Abandon(absl::CancelledError("gone"));
  Written();
  EXPECT_THAT(reactor_.written(), ElementsAre("first"));
}

// A writer thread completes writes while others send, end and abandon.
TEST(QueueThreads, ManySendersOneEnd) {
  for (int round = 0; round < 200; ++round) {
    struct Reactor {
      void StartWrite(const std::string*) { EXPECT_EQ(in_flight.exchange(1), 0); }
      void End(const absl::Status&) { EXPECT_EQ(finished.exchange(1), 0); }
      std::atomic<int> in_flight{0};
      std::atomic<int> finished{0};
    } reactor;
    StreamQueue<Reactor, std::string> queue(&reactor);
    std::thread writer([&] {
      while (reactor.finished == 0) {
        int one = 1;
        if (reactor.in_flight.compare_exchange_strong(one, 0)) queue.Written(true);
      }
    });
    std::vector<std::thread> senders;
    for (int i = 0; i < 3; ++i) {
      senders.emplace_back([&, i] {
        for (int n = 0; n < 50; ++n) queue.Send("x");
        if (i == 0) queue.End(absl::OkStatus());
        if (i == 1) queue.Abandon(absl::CancelledError("gone"));
      });
    }
    for (std::thread& sender : senders) sender.join();
    writer.join();
    EXPECT_EQ(reactor.finished, 1);
  }
}

}  // namespace
}  // namespace headlong
