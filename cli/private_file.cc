#include "cli/private_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace headlong {
namespace {

absl::Status CannotWrite(const std::string& path) {
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": cannot be written: ", std::strerror(errno)));
}

bool WriteAll(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(file, text.data(), text.size());
    if (written < 0 && errno != EINTR) return false;
    if (written > 0) text.remove_prefix(static_cast<size_t>(written));
  }
  return fsync(file) == 0;
}

}  // namespace

absl::Status WritePrivateFile(const std::string& path, std::string_view text, bool replace) {
  const std::string beside = absl::StrCat(path, ".", getpid(), ".tmp");
  const int file = open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0) return CannotWrite(path);
  const bool written = WriteAll(file, text);
  close(file);
  absl::Status status = written ? absl::OkStatus() : CannotWrite(path);
  if (status.ok() && replace && std::rename(beside.c_str(), path.c_str()) != 0) {
    status = CannotWrite(path);
  }
  if (status.ok() && !replace && link(beside.c_str(), path.c_str()) != 0) {
    status = errno == EEXIST ? absl::AlreadyExistsError(absl::StrCat(path, ": is there already"))
                             : CannotWrite(path);
  }
  if (!status.ok() || !replace) unlink(beside.c_str());
  return status;
}

}  // namespace headlong
