#include "cli/local_cluster.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/paths.h"

namespace headlong {
namespace {

using ::testing::HasSubstr;

std::string Model() { return (SourceDir() / "models" / "needle-10m").string(); }

// The value behind a flag, or "" where the flag is not there.
std::string ValueOf(const SupervisedCommand& command, const std::string& flag) {
  const auto at = std::find(command.argv.begin(), command.argv.end(), flag);
  return at == command.argv.end() ? "" : *(at + 1);
}

LocalClusterOptions Options(int workers, const std::string& memory_limit) {
  EngineFlags engine;
  engine.model = Model();
  LocalWorkerFlags local;
  local.workers = workers;
  local.memory_limit = memory_limit;
  return ClusterOptionsFrom(engine, local).value();
}

TEST(WorkerCommands, EachWorkerHasItsNameAndItsParent) {
  const std::vector<SupervisedCommand> commands =
      WorkerCommands(Options(2, ""), "/bin/headlong", "0.0.0.0:7001", {1 << 30, 0});
  ASSERT_EQ(commands.size(), 2u);
  EXPECT_EQ(commands[1].id, "w1");
  EXPECT_EQ(commands[1].argv[0], "/bin/headlong");
  EXPECT_EQ(commands[1].argv[1], "worker");
  EXPECT_EQ(ValueOf(commands[1], "--id"), "w1");
  EXPECT_EQ(ValueOf(commands[1], "--model"), Model());
  EXPECT_EQ(ValueOf(commands[1], "--coordinator"), "127.0.0.1:7001");
  EXPECT_EQ(ValueOf(commands[1], "--die-with-parent"), absl::StrCat(getpid()));
}

TEST(WorkerCommands, MemoryIsOneForAllOrOneEach) {
  const auto limits = [](int workers, const std::string& memory_limit) {
    std::vector<std::string> values;
    for (const SupervisedCommand& command :
         WorkerCommands(Options(workers, memory_limit), "headlong", "127.0.0.1:1", {1200, 0})) {
      values.push_back(ValueOf(command, "--memory-limit"));
    }
    return values;
  };
  EXPECT_THAT(limits(2, "1KiB"), testing::ElementsAre("1024", "1024"));
  EXPECT_THAT(limits(2, "1KiB,2KiB"), testing::ElementsAre("1024", "2048"));
  EXPECT_THAT(limits(3, ""), testing::ElementsAre("200", "200", "200"));  // half of all, shared
  EXPECT_THAT(limits(1, ""), testing::ElementsAre(""));  // the worker's own default
}

TEST(WorkerCommands, ThreadsAreSharedOutButNeverNone) {
  const std::vector<SupervisedCommand> many =
      WorkerCommands(Options(1000, ""), "headlong", "127.0.0.1:1", {});
  EXPECT_EQ(ValueOf(many[0], "--threads"), "1");
  LocalClusterOptions options = Options(2, "");
  options.threads = 7;
  EXPECT_EQ(ValueOf(WorkerCommands(options, "headlong", "127.0.0.1:1", {})[1], "--threads"), "7");
}

TEST(WorkerCommands, GpusAreTakenInTurnAndShared) {
  LocalClusterOptions options = Options(3, "");
  const auto on = [&](int gpus, const std::string& flag) {
    std::vector<std::string> values;
    for (const SupervisedCommand& command :
         WorkerCommands(options, "headlong", "127.0.0.1:1", {1200, gpus})) {
      values.push_back(ValueOf(command, flag));
    }
    return values;
  };
  EXPECT_THAT(on(0, "--gpu"), testing::ElementsAre("", "", ""));
  EXPECT_THAT(on(1, "--gpu"), testing::ElementsAre("0", "0", "0"));
  EXPECT_THAT(on(1, "--sharing"), testing::ElementsAre("3", "3", "3"));
  EXPECT_THAT(on(2, "--gpu"), testing::ElementsAre("0", "1", "0"));
  EXPECT_THAT(on(2, "--sharing"), testing::ElementsAre("2", "2", "2"));
  EXPECT_THAT(on(8, "--sharing"), testing::ElementsAre("1", "1", "1"));
  EXPECT_THAT(on(0, "--sums"), testing::ElementsAre("", "", ""));
  EXPECT_THAT(on(3, "--sums"), testing::ElementsAre("auto", "auto", "auto"));
  EXPECT_THAT(on(3, "--cuda-graphs"), testing::ElementsAre("", "", ""));  // on by default
  options.cuda_graphs = false;
  EXPECT_THAT(on(3, "--cuda-graphs"), testing::ElementsAre("off", "off", "off"));
  // The machine's memory says nothing of a GPU's.
  EXPECT_THAT(on(2, "--memory-limit"), testing::ElementsAre("", "", ""));
  options.gpu = 1;
  EXPECT_THAT(on(4, "--gpu"), testing::ElementsAre("1", "2", "3"));
  options.device = "cpu";
  EXPECT_THAT(on(4, "--gpu"), testing::ElementsAre("", "", ""));
}

TEST(ClusterOptionsFrom, AConfigStandsForItsFolderWhereNothingElseIsNeeded) {
  EngineFlags engine;
  engine.model = Model() + "/config.json";
  EXPECT_FALSE(ClusterOptionsFrom(engine, {}).ok());
  engine.load_format = "dummy";
  EXPECT_EQ(ClusterOptionsFrom(engine, {})->coordinator.model_dir, Model());
}

TEST(ClusterOptionsFrom, WrongCounts) {
  EngineFlags engine;
  engine.model = Model();
  LocalWorkerFlags local;
  local.workers = 2;
  local.memory_limit = "1GiB,2GiB,3GiB";
  EXPECT_EQ(ClusterOptionsFrom(engine, local).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(CheckModelFolder, SaysWhatIsThere) {
  EXPECT_TRUE(CheckModelFolder(Model()).ok());
  EXPECT_THAT(std::string(CheckModelFolder("/no/such").message()), HasSubstr("no such folder"));
  EXPECT_THAT(std::string(CheckModelFolder(Model() + "/config.json").message()),
              HasSubstr("not a folder"));
}

TEST(DialAddress, EveryAddressIsReachedByLoopback) {
  EXPECT_EQ(DialAddress("0.0.0.0:7001"), "127.0.0.1:7001");
  EXPECT_EQ(DialAddress("[::]:7001"), "127.0.0.1:7001");
  EXPECT_EQ(DialAddress("10.0.0.1:7001"), "10.0.0.1:7001");
}

}  // namespace
}  // namespace headlong
