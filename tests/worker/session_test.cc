#include "worker/session.h"

#include <gtest/gtest.h>

namespace headlong {
namespace {

v1::WorkerCommand Step(uint64_t step) {
  v1::WorkerCommand command;
  command.mutable_step()->set_step(step);
  return command;
}

v1::WorkerCommand Shutdown() {
  v1::WorkerCommand command;
  command.mutable_shutdown()->set_reason("maintenance");
  return command;
}

TEST(CommandQueueTest, PopsInOrder) {
  CommandQueue queue;
  queue.Push(Step(1));
  queue.Push(Step(2));
  EXPECT_EQ(queue.Pop()->step().step(), 1u);
  EXPECT_EQ(queue.Pop()->step().step(), 2u);
}

TEST(CommandQueueTest, StepsOfAClosedStreamAreDropped) {
  CommandQueue queue;
  queue.Push(Step(1));
  queue.Close();
  EXPECT_TRUE(queue.closed());
  EXPECT_FALSE(queue.Pop().has_value());
}

TEST(CommandQueueTest, ShutdownOutlivesTheStreamThatBroughtIt) {
  CommandQueue queue;
  queue.Push(Step(1));
  queue.Push(Shutdown());
  queue.Close();
  const std::optional<v1::WorkerCommand> command = queue.Pop();
  ASSERT_TRUE(command.has_value());
  EXPECT_EQ(command->shutdown().reason(), "maintenance");
  EXPECT_FALSE(queue.Pop().has_value());
}

}  // namespace
}  // namespace headlong
