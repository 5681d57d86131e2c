// Who may call what: every method of the cluster's services has one entry in a table; what is not
// in it is refused. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/access_tokens.h"

namespace headlong {

// "/package.Service/Method". PERMISSION_DENIED when the table does not have it.
absl::StatusOr<Scope> ScopeOf(std::string_view method);

inline constexpr char kAuthorizationKey[] = "authorization";  // of a call's metadata

// UNAUTHENTICATED unless `authorization` is "Bearer " and a token that is known.
absl::StatusOr<AccessToken> FindToken(const AccessTokens& tokens, std::string_view authorization);

// As FindToken where the method needs a token at all; PERMISSION_DENIED where that one's scopes do
// not cover it. `name` becomes the holder's where the token is known.
absl::Status CheckToken(const AccessTokens& tokens, std::string_view method,
                        std::string_view authorization, std::string* name);

// Whether one of the URIs of a certificate is a worker's.
bool IsWorker(const std::vector<std::string>& identities);

}  // namespace headlong
