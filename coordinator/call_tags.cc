#include "coordinator/call_tags.h"

#include <algorithm>

#include "common/name_rule.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr size_t kTraceparentLength = 55;

std::string_view ValueOf(const CallMetadata& metadata, const char* key) {
  const auto found = metadata.find(key);
  if (found == metadata.end()) return {};
  return {found->second.data(), found->second.size()};
}

bool IsHex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool IsZero(std::string_view hex) { return hex.find_first_not_of('0') == std::string_view::npos; }

}  // namespace

std::string TraceIdOf(std::string_view traceparent) {
  // Later versions than 00 may append fields; "ff" is no version.
  const bool long_enough =
      traceparent.size() == kTraceparentLength ||
      (traceparent.size() > kTraceparentLength && traceparent[kTraceparentLength] == '-' &&
       !traceparent.starts_with("00"));
  if (!long_enough || traceparent[2] != '-' || traceparent[35] != '-' || traceparent[52] != '-') {
    return "";
  }
  const std::string_view version = traceparent.substr(0, 2);
  const std::string_view trace = traceparent.substr(3, 32);
  const std::string_view parent = traceparent.substr(36, 16);
  const bool valid = IsHex(version) && version != "ff" && IsHex(trace) && !IsZero(trace) &&
                     IsHex(parent) && !IsZero(parent) && IsHex(traceparent.substr(53, 2));
  return valid ? std::string(trace) : "";
}

CallTags TagsOf(const CallMetadata& metadata) {
  CallTags tags;
  const std::string_view id = ValueOf(metadata, "x-request-id");
  if (IsName(id)) tags.request_id = std::string(id);
  tags.trace_id = TraceIdOf(ValueOf(metadata, "traceparent"));
  return tags;
}

absl::StatusOr<Caller> CallerOf(const CallMetadata& metadata, TokenFile* tokens) {
  if (tokens == nullptr) return Caller();
  ASSIGN_OR_RETURN(const AccessToken token,
                   FindToken(*tokens->tokens(), ValueOf(metadata, kAuthorizationKey)));
  return Caller{token.name, token.limits};
}

}  // namespace headlong
