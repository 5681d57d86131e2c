#include "cli/supervisor.h"

#include <signal.h>

#include <fstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "cli/restart_policy.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headlong {
namespace {

using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;

TEST(RestartPolicy, WaitsLongerForEveryQuickDeathAndThenGivesUp) {
  RestartPolicy policy;
  for (const int wait : {0, 200, 500, 1000, 2000}) {
    EXPECT_EQ(policy.OnDeath(milliseconds(10)), milliseconds(wait));
  }
  EXPECT_EQ(policy.OnDeath(milliseconds(10)), std::nullopt);
}

TEST(RestartPolicy, ALongLifeForgivesTheQuickDeaths) {
  RestartPolicy policy;
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(policy.OnDeath(milliseconds(10)), milliseconds(0));
    EXPECT_EQ(policy.OnDeath(milliseconds(10)), milliseconds(200));
    EXPECT_EQ(policy.OnDeath(RestartPolicy::kQuickDeath), milliseconds(0));
  }
}

// Lines that a supervisor hands out, collected across threads.
class Lines {
 public:
  void Add(const std::string& line) {
    const std::lock_guard lock(mutex_);
    lines_.push_back(line);
  }
  std::vector<std::string> all() {
    const std::lock_guard lock(mutex_);
    return lines_;
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> lines_;
};

class SupervisorTest : public ::testing::Test {
 protected:
  SupervisorOptions Options(const std::string& script) {
    SupervisorOptions options;
    options.commands = {{"w0", {"/bin/sh", "-c", script}}};
    options.note = [this](const std::string& line) { notes_.Add(line); };
    options.child_output = [this](const std::string& id, const std::string& line) {
      output_.Add(id + ": " + line);
    };
    return options;
  }

  template <typename Condition>
  static bool Eventually(const Condition& condition) {
    for (int i = 0; i < 2000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(milliseconds(5));
    }
    return false;
  }

  static int64_t PidOf(const Supervisor& supervisor) { return supervisor.children()[0].pid; }
  static bool Exists(int64_t pid) { return kill(static_cast<pid_t>(pid), 0) == 0; }

  Lines notes_;
  Lines output_;
};

TEST_F(SupervisorTest, StartsAKilledChildAgainAtOnce) {
  Supervisor supervisor(Options("echo hello; exec sleep 1000"));
  ASSERT_TRUE(Eventually([&] { return PidOf(supervisor) > 0 && !output_.all().empty(); }));
  EXPECT_THAT(output_.all(), Contains("w0: hello"));
  const int64_t first = PidOf(supervisor);
  const auto killed = std::chrono::steady_clock::now();
  kill(static_cast<pid_t>(first), SIGKILL);
  ASSERT_TRUE(Eventually([&] { return PidOf(supervisor) > 0 && PidOf(supervisor) != first; }));
  EXPECT_LT(std::chrono::steady_clock::now() - killed, milliseconds(1000));
  EXPECT_THAT(notes_.all(), Contains(AllOf(HasSubstr("killed by signal 9"), HasSubstr("again"))));
  const int64_t second = PidOf(supervisor);
  supervisor.Stop(milliseconds(0));
  EXPECT_FALSE(Exists(first));
  EXPECT_FALSE(Exists(second));
}

TEST_F(SupervisorTest, GivesUpOnAChildThatAlwaysDiesAndSaysWhy) {
  const auto begin = std::chrono::steady_clock::now();
  Supervisor supervisor(Options("echo cannot open weights >&2; exit 3"));
  ASSERT_TRUE(Eventually([&] { return !supervisor.children()[0].given_up.empty(); }));
  const ChildState state = supervisor.children()[0];
  EXPECT_EQ(state.starts, 6);
  EXPECT_THAT(state.given_up,
              AllOf(HasSubstr("exited with code 3"), HasSubstr("cannot open weights")));
  EXPECT_GE(std::chrono::steady_clock::now() - begin, milliseconds(3700));  // the waits between
  EXPECT_THAT(notes_.all(), Contains(HasSubstr("going on without it")));
}

TEST_F(SupervisorTest, AProgramThatIsNotThere) {
  SupervisorOptions options = Options("");
  options.commands[0].argv = {"/no/such/program"};
  Supervisor supervisor(std::move(options));
  ASSERT_TRUE(Eventually([&] { return !supervisor.children()[0].given_up.empty(); }));
  EXPECT_THAT(supervisor.children()[0].given_up, HasSubstr("/no/such/program"));
}

TEST_F(SupervisorTest, KillsAFrozenChildAndStartsAnother) {
  std::atomic<int64_t> frozen{0};
  SupervisorOptions options = Options("exec sleep 1000");
  options.frozen_pids = [&] { return std::set<int64_t>{frozen.load()}; };
  Supervisor supervisor(std::move(options));
  ASSERT_TRUE(Eventually([&] { return PidOf(supervisor) > 0; }));
  const int64_t first = PidOf(supervisor);
  kill(static_cast<pid_t>(first), SIGSTOP);
  frozen = first;
  ASSERT_TRUE(Eventually([&] { return PidOf(supervisor) > 0 && PidOf(supervisor) != first; }));
  EXPECT_THAT(notes_.all(), Contains(HasSubstr("does not answer")));
}

TEST_F(SupervisorTest, DrainingLetsACleanEndBeAnEnd) {
  Supervisor supervisor(Options("while [ ! -e /proc/self/never ]; do sleep 0.05; done"));
  ASSERT_TRUE(Eventually([&] { return PidOf(supervisor) > 0; }));
  supervisor.Drain();
  kill(static_cast<pid_t>(PidOf(supervisor)), SIGKILL);  // not a clean end: it is needed still
  ASSERT_TRUE(Eventually([&] { return supervisor.children()[0].starts == 2; }));
}

TEST_F(SupervisorTest, DrainedChildIsNotStartedAgain) {
  Supervisor supervisor(Options("sleep 0.3"));
  supervisor.Drain();
  ASSERT_TRUE(Eventually([&] { return PidOf(supervisor) > 0; }));
  ASSERT_TRUE(Eventually([&] { return PidOf(supervisor) == 0; }));
  std::this_thread::sleep_for(milliseconds(300));
  EXPECT_EQ(supervisor.children()[0].starts, 1);
}

TEST_F(SupervisorTest, StopLetsChildrenEndByThemselves) {
  Supervisor supervisor(
      Options("trap 'echo goodbye; exit 0' TERM; echo ready; while true; do sleep 0.02; done"));
  ASSERT_TRUE(Eventually([&] { return !output_.all().empty(); }));
  supervisor.Stop(milliseconds(5000));
  EXPECT_THAT(output_.all(), Contains("w0: goodbye"));
}

TEST_F(SupervisorTest, StopKillsChildrenThatDoNotListen) {
  Supervisor supervisor(Options("trap '' TERM; echo ready; while true; do sleep 0.02; done"));
  ASSERT_TRUE(Eventually([&] { return !output_.all().empty(); }));
  const int64_t pid = PidOf(supervisor);
  supervisor.Stop(milliseconds(200));
  EXPECT_FALSE(Exists(pid));
}

TEST_F(SupervisorTest, ChildrenInheritNoDescriptorsAndNoStdin) {
  const std::ifstream kept_open("/proc/self/status");
  Supervisor supervisor(
      // ls lists its own descriptors: what it inherited, and 3, the folder it reads.
      Options("ls /proc/self/fd | tr '\\n' ' '; echo; read x || echo no input; sleep 1000"));
  ASSERT_TRUE(Eventually([&] { return output_.all().size() >= 2; }));
  EXPECT_THAT(output_.all(), Contains("w0: no input"));
  EXPECT_THAT(output_.all(), Contains("w0: 0 1 2 3 "));
}

}  // namespace
}  // namespace headlong
