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
  std::string name;
  return CheckToken(Tokens(), method, authorization, &name);
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
  EXPECT_EQ(ScopeOf("/headlong.v1.Admin/TraceRequest").value(), Scope::kRead);
  std::string name;
  EXPECT_TRUE(CheckToken(Tokens(), kDrain, "Bearer b", &name).ok());
  EXPECT_EQ(name, "bob");
  EXPECT_FALSE(CheckToken(Tokens(), kDrain, "Bearer a", &name).ok());
  EXPECT_EQ(name, "alice") << "who was refused is known";
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

TEST(Access, LimitsAreReadAndWritten) {
  const std::string line = "alice infer " + HashOf("a");
  const std::string limits = " max-concurrent=4 tokens-per-second=12.5 cache-share=0.25";
  const auto limits_of = [](const std::string& text) {
    return ParseTokens(text, "tokens").value().begin()->second.limits;
  };
  const TokenLimits read = limits_of(line + limits);
  EXPECT_EQ(read.max_concurrent, 4);
  EXPECT_EQ(read.tokens_per_second, 12.5);
  EXPECT_EQ(read.cache_share, 0.25);
  EXPECT_EQ(LimitsText(read), limits);
  EXPECT_EQ(LimitsText(limits_of(line)), "");
  for (const char* wrong :
       {"max-concurrent=0", "max-concurrent=x", "tokens-per-second=-1", "tokens-per-second=inf",
        "cache-share=1.5", "cache-share=0", "speed=7", "max-concurrent"}) {
    const auto parsed = ParseTokens(line + " " + wrong, "tokens");
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("tokens, line 1: ")) << wrong;
  }
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
