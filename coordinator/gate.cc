#include "coordinator/gate.h"

#include <spdlog/spdlog.h>

#include <string>
#include <utility>
#include <vector>

#include "common/grpc_status.h"
#include "grpc/grpc_security_constants.h"

namespace headlong {
namespace {

constexpr char kMethodKey[] = ":path";
constexpr char kAuthorizationKey[] = "authorization";

std::string_view ValueOf(const grpc::AuthMetadataProcessor::InputMetadata& metadata,
                         const char* key) {
  const auto found = metadata.find(key);
  if (found == metadata.end()) return {};
  return {found->second.data(), found->second.size()};
}

class WorkerGate final : public grpc::AuthMetadataProcessor {
 public:
  bool IsBlocking() const override { return false; }

  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext* context, OutputMetadata*,
                       OutputMetadata*) override {
    const absl::StatusOr<Scope> scope = ScopeOf(ValueOf(metadata, kMethodKey));
    if (!scope.ok()) return ToGrpc(scope.status());
    std::vector<std::string> identities;
    for (const grpc::string_ref& uri : context->FindPropertyValues(GRPC_PEER_URI_PROPERTY_NAME)) {
      identities.emplace_back(uri.data(), uri.size());
    }
    if (*scope == Scope::kWorker && IsWorker(identities)) return grpc::Status::OK;
    return grpc::Status(grpc::StatusCode::PERMISSION_DENIED,
                        "the certificate is not a worker's: its URI must begin with "
                        "spiffe://headlong/worker");
  }
};

class ClientGate final : public grpc::AuthMetadataProcessor {
 public:
  explicit ClientGate(std::unique_ptr<TokenFile> tokens) : tokens_(std::move(tokens)) {}

  bool IsBlocking() const override { return true; }  // may read the file

  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext*, OutputMetadata* consumed,
                       OutputMetadata*) override {
    const std::string_view method = ValueOf(metadata, kMethodKey);
    const absl::StatusOr<std::string> name =
        CheckToken(*tokens_->tokens(), method, ValueOf(metadata, kAuthorizationKey));
    if (!name.ok()) {
      spdlog::warn("refused: {}: {}", method, std::string(name.status().message()));
      return ToGrpc(name.status());
    }
    const auto token = metadata.find(kAuthorizationKey);
    if (token != metadata.end()) {
      consumed->emplace(std::string(token->first.data(), token->first.size()),
                        std::string(token->second.data(), token->second.size()));
    }
    if (ScopeOf(method).value() == Scope::kAdmin) {
      spdlog::info("audit: {} called {}", *name, method);
    }
    return grpc::Status::OK;
  }

 private:
  const std::unique_ptr<TokenFile> tokens_;
};

}  // namespace

std::shared_ptr<grpc::AuthMetadataProcessor> MakeWorkerGate() {
  return std::make_shared<WorkerGate>();
}

std::shared_ptr<grpc::AuthMetadataProcessor> MakeClientGate(std::unique_ptr<TokenFile> tokens) {
  return std::make_shared<ClientGate>(std::move(tokens));
}

}  // namespace headlong
