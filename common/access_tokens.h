// Files of access tokens: what a coordinator takes from clients, what `headlong auth` writes. Pure.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace headlong {

enum class Scope {
  kNone,    // whoever gets through: health
  kInfer,   // prompts and tokens
  kRead,    // what the cluster and its requests are
  kAdmin,   // changes them
  kWorker,  // a worker's certificate
};

// "infer" | "read" | "admin"; "worker" and "none" name no token's scope.
std::string_view NameOf(Scope scope);

// One line of a token file: "name scopes sha256", scopes as infer,read,admin, the hash in hex of
// the token's text. Empty lines and lines that begin with # say nothing.
struct AccessToken {
  std::string name;
  std::set<Scope> scopes;  // kAdmin includes kRead
};
using AccessTokens = std::map<std::string, AccessToken>;  // by hash

// INVALID_ARGUMENT names the line of `source`.
absl::StatusOr<AccessTokens> ParseTokens(std::string_view text, std::string_view source);

}  // namespace headlong
