#include "coordinator/token_file.h"

#include <spdlog/spdlog.h>

#include <system_error>

#include "common/json.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr std::chrono::seconds kLookInterval{1};

}  // namespace

absl::StatusOr<std::unique_ptr<TokenFile>> TokenFile::Open(const std::filesystem::path& path) {
  std::unique_ptr<TokenFile> file(new TokenFile(path));
  const absl::MutexLock lock(&file->mutex_);
  RETURN_IF_ERROR(file->Read());
  return file;
}

absl::Status TokenFile::Read() {
  looked_ = std::chrono::steady_clock::now();
  std::error_code error;
  const auto changed = std::filesystem::last_write_time(path_, error);
  if (tokens_ != nullptr && !error && changed == changed_) return absl::OkStatus();
  changed_ = changed;
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path_));
  ASSIGN_OR_RETURN(AccessTokens tokens, ParseTokens(text, path_.string()));
  tokens_ = std::make_shared<const AccessTokens>(std::move(tokens));
  return absl::OkStatus();
}

std::shared_ptr<const AccessTokens> TokenFile::tokens() {
  const absl::MutexLock lock(&mutex_);
  if (std::chrono::steady_clock::now() - looked_ >= kLookInterval) {
    if (const absl::Status read = Read(); !read.ok()) {
      spdlog::error("access tokens stay as they were: {}", std::string(read.message()));
    }
  }
  return tokens_;
}

}  // namespace headlong
