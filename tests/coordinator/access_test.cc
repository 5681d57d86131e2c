#include "coordinator/access.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include "common/sha256.h"
#include "headlong/v1/admin.pb.h"
#include "headlong/v1/inference.pb.h"
#include "headlong/v1/worker.pb.h"

namespace headlong {
namespace {

using testing::HasSubstr;

std::string HashOf(const std::string& token) {
  Sha256 hash;
  hash.Update(token);
  return hash.HexDigest();
}

AccessTokens Tokens() {
  return ParseTokens("# who may come in\n\nalice infer " + HashOf("a") + "\nbob infer,admin " +
                         HashOf("b") + "\n",
                     "tokens")
      .value();
}

absl::Status Call(const std::string& method, const std::string& authorization) {
  return CheckToken(Tokens(), method, authorization).status();
}

constexpr char kGenerate[] = "/headlong.v1.Inference/Generate";
constexpr char kDrain[] = "/headlong.v1.Admin/DrainWorker";

TEST(Access, EveryMethodOfEveryServiceHasAScope) {
  const google::protobuf::FileDescriptor* files[] = {v1::GenerateRequest::descriptor()->file(),
                                                     v1::GetClusterRequest::descriptor()->file(),
                                                     v1::WorkerEvent::descriptor()->file()};
  int methods = 0;
  for (const auto* file : files) {
    ASSERT_EQ(file->service_count(), 1) << file->name();
    const auto& service = *file->service(0);
    for (int i = 0; i < service.method_count(); ++i, ++methods) {
      const std::string name = "/" + service.full_name() + "/" + service.method(i)->name();
      const auto scope = ScopeOf(name);
      ASSERT_TRUE(scope.ok()) << scope.status();
      EXPECT_NE(*scope, Scope::kNone) << name;
      EXPECT_EQ(*scope == Scope::kWorker, service.name() == "WorkerLink") << name;
    }
  }
  EXPECT_GT(methods, 10);
}

TEST(Access, WhatIsNotInTheTableIsRefused) {
  for (const char* method : {"", "/headlong.v1.Admin/Format", "/headlong.v1.Inference/generate",
                             "headlong.v1.Inference/Generate"}) {
    EXPECT_EQ(ScopeOf(method).status().code(), absl::StatusCode::kPermissionDenied) << method;
    EXPECT_EQ(Call(method, "Bearer b").code(), absl::StatusCode::kPermissionDenied) << method;
  }
}

TEST(Access, TokensOpenWhatTheirScopesSay) {
  EXPECT_TRUE(Call(kGenerate, "Bearer a").ok());
  EXPECT_EQ(Call(kDrain, "Bearer a").code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(Call("/headlong.v1.Admin/GetCluster", "Bearer a").code(),
            absl::StatusCode::kPermissionDenied);
  EXPECT_TRUE(Call(kGenerate, "Bearer b").ok());
  EXPECT_TRUE(Call(kDrain, "Bearer b").ok());
  EXPECT_TRUE(Call("/headlong.v1.Admin/GetCluster", "Bearer b").ok()) << "admin includes read";
  EXPECT_EQ(CheckToken(Tokens(), kDrain, "Bearer b").value(), "bob");
  EXPECT_TRUE(Call("/grpc.health.v1.Health/Check", "").ok());
}

TEST(Access, NoTokenOpensTheWorkerLink) {
  EXPECT_EQ(Call("/headlong.v1.WorkerLink/Connect", "Bearer b").code(),
            absl::StatusCode::kPermissionDenied);
}

TEST(Access, UnknownTokensAreNobody) {
  for (const char* authorization :
       {"", "Bearer", "Bearer ", "Bearer c", "bearer a", "Basic a", "Bearer a ", "a"}) {
    EXPECT_EQ(Call(kGenerate, authorization).code(), absl::StatusCode::kUnauthenticated)
        << authorization;
  }
  EXPECT_EQ(Call(kGenerate, "Bearer " + HashOf("a")).code(), absl::StatusCode::kUnauthenticated)
      << "the hash is not the token";
}

TEST(Access, AWrongLineIsNamed) {
  const std::string hash = HashOf("a");
  const auto why = [](const std::string& text) {
    return std::string(ParseTokens(text, "tokens").status().message());
  };
  EXPECT_THAT(why("alice infer"), HasSubstr("tokens, line 1: must be NAME SCOPES SHA256"));
  EXPECT_THAT(why("#\nalice root " + hash), HasSubstr("line 2: scope \"root\""));
  EXPECT_THAT(why("alice infer, " + hash), HasSubstr("scope \"\""));
  EXPECT_THAT(why("alice infer 12ab"), HasSubstr("64 hex digits"));
  EXPECT_THAT(why("alice infer " + hash + "\nbob infer " + hash), HasSubstr("line 2: the same"));
  EXPECT_TRUE(ParseTokens("", "tokens").value().empty());
}

TEST(Access, WorkersAreToldByTheirUri) {
  EXPECT_TRUE(IsWorker({"spiffe://headlong/worker"}));
  EXPECT_TRUE(IsWorker({"https://elsewhere", "spiffe://headlong/worker/w0"}));
  EXPECT_FALSE(IsWorker({}));
  EXPECT_FALSE(IsWorker({"spiffe://headlong/workers"}));
  EXPECT_FALSE(IsWorker({"spiffe://headlong/coordinator"}));
  EXPECT_FALSE(IsWorker({"spiffe://other/headlong/worker"}));
}

}  // namespace
}  // namespace headlong
