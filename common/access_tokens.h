// Files of access tokens: what a coordinator takes from clients, what `headlong auth` writes. Pure.
#pragma once

#include <cstdint>
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

// What the holder of a token may use. 0: as much as there is.
struct TokenLimits {
  int64_t max_concurrent = 0;    // requests queued and running
  double tokens_per_second = 0;  // of prompts and answers together
  double cache_share = 0;        // at most 1: of the pages of the caches
};

// As a line of a token file says it: " max-concurrent=4 tokens-per-second=100 cache-share=0.25",
// what is not limited left out.
std::string LimitsText(const TokenLimits& limits);

// One line of a token file: "name scopes sha256" and limits, scopes as infer,read,admin, the hash
// in hex of the token's text. Empty lines and lines that begin with # say nothing. Several tokens
// of one name share what the name uses.
struct AccessToken {
  std::string name;
  std::set<Scope> scopes;  // kAdmin includes kRead
  TokenLimits limits;
};
using AccessTokens = std::map<std::string, AccessToken>;  // by hash

// INVALID_ARGUMENT names the line of `source`.
absl::StatusOr<AccessTokens> ParseTokens(std::string_view text, std::string_view source);

}  // namespace headlong
