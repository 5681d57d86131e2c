#include "coordinator/access.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "common/sha256.h"
#include "common/status.h"
#include "common/tls.h"

namespace headlong {
namespace {

constexpr char kBearer[] = "Bearer ";

constexpr std::pair<std::string_view, Scope> kMethods[] = {
    {"/headlong.v1.Inference/Generate", Scope::kInfer},
    {"/headlong.v1.Inference/Tokenize", Scope::kInfer},
    {"/headlong.v1.Inference/Detokenize", Scope::kInfer},
    {"/headlong.v1.Inference/GetModel", Scope::kInfer},
    {"/headlong.v1.Admin/GetCluster", Scope::kRead},
    {"/headlong.v1.Admin/ListWorkers", Scope::kRead},
    {"/headlong.v1.Admin/GetPlacement", Scope::kRead},
    {"/headlong.v1.Admin/PlanPlacement", Scope::kRead},
    {"/headlong.v1.Admin/ListEpochs", Scope::kRead},
    {"/headlong.v1.Admin/ListRequests", Scope::kRead},
    {"/headlong.v1.Admin/TraceRequest", Scope::kRead},
    {"/headlong.v1.Admin/CancelRequest", Scope::kAdmin},
    {"/headlong.v1.Admin/DrainWorker", Scope::kAdmin},
    {"/headlong.v1.Admin/ApplyPlacement", Scope::kAdmin},
    {"/headlong.v1.Admin/ApplyPlan", Scope::kAdmin},
    {"/headlong.v1.WorkerLink/Connect", Scope::kWorker},
    {"/headlong.v1.WorkerLink/CheckRegister", Scope::kWorker},
    {"/headlong.v1.WorkerLink/PutKey", Scope::kWorker},
    {"/headlong.v1.WorkerLink/GetKey", Scope::kWorker},
    {"/grpc.health.v1.Health/Check", Scope::kNone},
    {"/grpc.health.v1.Health/Watch", Scope::kNone},
    {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Scope::kRead},
};

}  // namespace

absl::StatusOr<Scope> ScopeOf(std::string_view method) {
  for (const auto& [name, scope] : kMethods) {
    if (name == method) return scope;
  }
  return absl::PermissionDeniedError(absl::StrCat("nobody may call ", Av(method)));
}

absl::StatusOr<AccessToken> FindToken(const AccessTokens& tokens, std::string_view authorization) {
  absl::string_view token = Av(authorization);
  if (!absl::ConsumePrefix(&token, kBearer)) {
    return absl::UnauthenticatedError("an access token is needed: authorization: Bearer TOKEN");
  }
  Sha256 hash;
  hash.Update({token.data(), token.size()});
  const auto known = tokens.find(hash.HexDigest());
  if (known == tokens.end()) return absl::UnauthenticatedError("the access token is not known");
  return known->second;
}

absl::Status CheckToken(const AccessTokens& tokens, std::string_view method,
                        std::string_view authorization, std::string* name) {
  ASSIGN_OR_RETURN(const Scope scope, ScopeOf(method));
  if (scope == Scope::kNone) return absl::OkStatus();
  ASSIGN_OR_RETURN(const AccessToken token, FindToken(tokens, authorization));
  *name = token.name;
  if (token.scopes.contains(scope)) return absl::OkStatus();
  return absl::PermissionDeniedError(
      absl::StrCat("the access token's scopes do not include ", Av(NameOf(scope))));
}

bool IsWorker(const std::vector<std::string>& identities) {
  return std::any_of(identities.begin(), identities.end(), [](const std::string& uri) {
    return uri == kWorkerIdentity || absl::StartsWith(uri, absl::StrCat(kWorkerIdentity, "/"));
  });
}

}  // namespace headlong
