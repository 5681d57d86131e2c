#include "coordinator/retry_hint.h"

#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr char kPayload[] = "headlong/retry-after-ms";

}  // namespace

absl::Status TryAgain(std::string_view why, std::chrono::milliseconds after) {
  absl::Status status = absl::ResourceExhaustedError(absl::StrFormat(
      "%s; try again in %.1f s", Av(why), static_cast<double>(after.count()) / 1e3));
  status.SetPayload(kPayload, absl::Cord(absl::StrCat(after.count())));
  return status;
}

std::optional<std::chrono::milliseconds> RetryAfter(const absl::Status& status) {
  const auto payload = status.GetPayload(kPayload);
  int64_t after = 0;
  if (!payload || !absl::SimpleAtoi(std::string(*payload), &after)) return std::nullopt;
  return std::chrono::milliseconds(after);
}

}  // namespace headlong
