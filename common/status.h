// Status plumbing that Abseil 20220623 lacks, and the bridge to its own string_view.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace headlong {

// Debian's Abseil is built for C++14: its string_view is a type of its own.
inline absl::string_view Av(std::string_view s) { return {s.data(), s.size()}; }

// The same code, with "<what>: " before the message. OK stays OK.
inline absl::Status Annotate(const absl::Status& status, std::string_view what) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(Av(what), ": ", status.message()));
}

}  // namespace headlong

#define HEADLONG_CONCAT_INNER(a, b) a##b
#define HEADLONG_CONCAT(a, b) HEADLONG_CONCAT_INNER(a, b)

#define RETURN_IF_ERROR(expr)                                         \
  do {                                                                \
    if (absl::Status status_ = (expr); !status_.ok()) return status_; \
  } while (false)

#define ASSIGN_OR_RETURN(lhs, expr) \
  ASSIGN_OR_RETURN_INNER(HEADLONG_CONCAT(statusor_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_INNER(statusor, lhs, expr)        \
  auto statusor = (expr);                                  \
  if (!statusor.ok()) return std::move(statusor).status(); \
  lhs = std::move(statusor).value()
