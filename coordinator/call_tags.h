// What a call's metadata says beside its message: who calls, and the ids that tie it to a caller's
// own logs. Any thread.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "coordinator/caller.h"
#include "coordinator/token_file.h"
#include "grpcpp/support/string_ref.h"

namespace headlong {

using CallMetadata = std::multimap<grpc::string_ref, grpc::string_ref>;

struct CallTags {
  std::string request_id;  // `x-request-id`, where that is a name; else empty
  std::string trace_id;    // of W3C's `traceparent`, 32 hex digits; else empty
};
CallTags TagsOf(const CallMetadata& metadata);

// The trace id of "00-<32 hex>-<16 hex>-<2 hex>" (www.w3.org/TR/trace-context, section 3.2); empty
// where it is none. Pure.
std::string TraceIdOf(std::string_view traceparent);

// Null `tokens`: nobody in particular, without limits. UNAUTHENTICATED when the token was revoked
// since the call came in.
absl::StatusOr<Caller> CallerOf(const CallMetadata& metadata, TokenFile* tokens);

}  // namespace headlong
