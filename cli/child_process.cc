#include "cli/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"

extern char** environ;

namespace headlong {
namespace {

constexpr size_t kLinesKept = 8;
constexpr size_t kLongestLine = 4096;

absl::Status SystemError(const char* what, int error) {
  return absl::InternalError(absl::StrCat(what, ": ", strerror(error)));
}

int SpawnInto(int output, const std::vector<std::string>& argv, pid_t* pid) {
  std::vector<char*> words;
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);

  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&files, output, STDERR_FILENO);
  posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);

  // The parent's handlers and masks are its own affair.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t signals;
  sigfillset(&signals);
  posix_spawnattr_setsigdefault(&attributes, &signals);
  sigemptyset(&signals);
  posix_spawnattr_setsigmask(&attributes, &signals);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);

  const int error = posix_spawn(pid, words[0], &files, &attributes, words.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  return error;
}

}  // namespace

absl::StatusOr<ChildProcess> ChildProcess::Spawn(const std::vector<std::string>& argv) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return SystemError("cannot make a pipe", errno);
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  pid_t pid = -1;
  const int error = SpawnInto(ends[1], argv, &pid);
  close(ends[1]);
  if (error == 0) return ChildProcess(pid, ends[0]);
  close(ends[0]);
  return SystemError(absl::StrCat("cannot start ", argv[0]).c_str(), error);
}

ChildProcess::ChildProcess(pid_t pid, int output_fd)
    : pid_(pid), output_fd_(output_fd), started_(std::chrono::steady_clock::now()) {}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      output_fd_(std::exchange(other.output_fd_, -1)),
      started_(other.started_),
      partial_line_(std::move(other.partial_line_)),
      last_lines_(std::move(other.last_lines_)) {}

ChildProcess::~ChildProcess() {
  if (pid_ > 0) {
    Signal(SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  if (output_fd_ >= 0) close(output_fd_);
}

void ChildProcess::ReadOutput(const LineSink& sink) {
  const auto finish_line = [&] {
    if (!partial_line_.empty()) {
      sink(partial_line_);
      last_lines_.push_back(std::move(partial_line_));
      if (last_lines_.size() > kLinesKept) last_lines_.pop_front();
    }
    partial_line_.clear();
  };
  char buffer[4096];
  while (output_fd_ >= 0) {
    const ssize_t bytes = read(output_fd_, buffer, sizeof(buffer));
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) return;  // nothing there yet
    for (ssize_t i = 0; i < bytes; ++i) {
      if (buffer[i] == '\n' || partial_line_.size() == kLongestLine) finish_line();
      if (buffer[i] != '\n') partial_line_.push_back(buffer[i]);
    }
    if (bytes > 0) continue;
    finish_line();
    close(std::exchange(output_fd_, -1));
  }
}

std::optional<int> ChildProcess::Reap(const LineSink& sink) {
  int status = 0;
  if (pid_ <= 0 || waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  pid_ = -1;
  ReadOutput(sink);
  return status;
}

void ChildProcess::Signal(int signal) {
  if (pid_ > 0) kill(pid_, signal);
}

std::string DescribeDeath(int wait_status) {
  if (WIFSIGNALED(wait_status)) {
    const int signal = WTERMSIG(wait_status);
    return absl::StrCat("was killed by signal ", signal, " (", strsignal(signal), ")");
  }
  return absl::StrCat("exited with code ", WEXITSTATUS(wait_status));
}

}  // namespace headlong
