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

// UNAUTHENTICATED without a token that is known ("Bearer ..." of the call's `authorization`),
// PERMISSION_DENIED where its scopes do not cover the method. The name of the token's holder.
absl::StatusOr<std::string> CheckToken(const AccessTokens& tokens, std::string_view method,
                                       std::string_view authorization);

// Whether one of the URIs of a certificate is a worker's.
bool IsWorker(const std::vector<std::string>& identities);

}  // namespace headlong
