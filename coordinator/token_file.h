// The tokens of a file as it is now. Any thread.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "coordinator/access.h"

namespace headlong {

class TokenFile {
 public:
  // NOT_FOUND or INVALID_ARGUMENT names the file, and the line that is wrong.
  static absl::StatusOr<std::unique_ptr<TokenFile>> Open(const std::filesystem::path& path);

  // Looks whether the file changed, at most once a second. One that cannot be read any more, or is
  // wrong, leaves the tokens as they were, which is logged.
  std::shared_ptr<const AccessTokens> tokens();

 private:
  explicit TokenFile(const std::filesystem::path& path) : path_(path) {}
  absl::Status Read() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::filesystem::path path_;
  absl::Mutex mutex_;
  std::shared_ptr<const AccessTokens> tokens_ ABSL_GUARDED_BY(mutex_);
  std::filesystem::file_time_type changed_ ABSL_GUARDED_BY(mutex_);
  std::chrono::steady_clock::time_point looked_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headlong
