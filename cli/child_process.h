// One child of this program: started, its output collected line by line, its death noticed. Moves
// only; one thread. A child that is still there at destruction is killed.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace headlong {

class ChildProcess {
 public:
  using LineSink = std::function<void(const std::string& line)>;

  // Runs argv[0] with stdin closed to it and nothing inherited; stdout and stderr come to
  // PollOutput.
  static absl::StatusOr<ChildProcess> Spawn(const std::vector<std::string>& argv);

  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&&) = delete;
  ~ChildProcess();

  pid_t pid() const { return pid_; }
  int output_fd() const { return output_fd_; }
  std::chrono::steady_clock::time_point started() const { return started_; }
  // The last lines it wrote.
  const std::deque<std::string>& last_lines() const { return last_lines_; }

  // Hands the lines that are there to `sink`; never blocks.
  void ReadOutput(const LineSink& sink);
  // Reaps the child if it is dead; the rest of its output goes to `sink`. Returns its wait status.
  std::optional<int> Reap(const LineSink& sink);
  void Signal(int signal);

 private:
  ChildProcess(pid_t pid, int output_fd);

  pid_t pid_ = -1;  // -1: reaped
  int output_fd_ = -1;
  std::chrono::steady_clock::time_point started_;
  std::string partial_line_;
  std::deque<std::string> last_lines_;
};

// "exited with code 3", "was killed by signal 9 (Killed)"
std::string DescribeDeath(int wait_status);

}  // namespace headlong
