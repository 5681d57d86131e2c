// When a client that was refused may come back: part of a status, from where it is decided to the
// trailing metadata of the call. Pure.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

#include "absl/status/status.h"

namespace headlong {

// gRPC's own name for it (proposal A6): clients with a retry policy wait so long.
inline constexpr char kRetryPushbackKey[] = "grpc-retry-pushback-ms";

// RESOURCE_EXHAUSTED: "<why>; try again in 1.5 s".
absl::Status TryAgain(std::string_view why, std::chrono::milliseconds after);

// Nullopt where the status says nothing about it.
std::optional<std::chrono::milliseconds> RetryAfter(const absl::Status& status);

}  // namespace headlong
