#include "coordinator/gate.h"

#include <spdlog/spdlog.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/synchronization/mutex.h"
#include "common/grpc_status.h"
#include "common/status.h"
#include "grpc/grpc_security_constants.h"

namespace headlong {
namespace {

constexpr char kMethodKey[] = ":path";

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

// Strangers must not fill the disk: a few lines a second, then how many were left out.
class RefusalLog {
 public:
  void Write(std::string_view who, std::string_view method, const absl::Status& why) {
    const absl::MutexLock lock(&mutex_);
    const auto now = std::chrono::steady_clock::now();
    if (now - second_ >= std::chrono::seconds(1)) {
      if (left_out_ > 0) spdlog::warn("refused: {} more calls", left_out_);
      second_ = now;
      written_ = left_out_ = 0;
    }
    if (++written_ > kLinesPerSecond) {
      ++left_out_;
      return;
    }
    spdlog::warn("refused: {} called {}: {}", who.empty() ? "somebody" : who,
                 absl::CEscape(Av(method.substr(0, kMostMethodBytes))), std::string(why.message()));
  }

 private:
  static constexpr int kLinesPerSecond = 10;
  static constexpr size_t kMostMethodBytes = 100;

  absl::Mutex mutex_;
  std::chrono::steady_clock::time_point second_ ABSL_GUARDED_BY(mutex_);
  int written_ ABSL_GUARDED_BY(mutex_) = 0;
  int left_out_ ABSL_GUARDED_BY(mutex_) = 0;
};

class ClientGate final : public grpc::AuthMetadataProcessor {
 public:
  explicit ClientGate(std::shared_ptr<TokenFile> tokens) : tokens_(std::move(tokens)) {}

  bool IsBlocking() const override { return true; }  // may read the file

  // The token is not consumed: services ask it for its holder's limits.
  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext*, OutputMetadata*,
                       OutputMetadata*) override {
    const std::string_view method = ValueOf(metadata, kMethodKey);
    std::string name;
    const absl::Status allowed =
        CheckToken(*tokens_->tokens(), method, ValueOf(metadata, kAuthorizationKey), &name);
    if (!allowed.ok()) refusals_.Write(name, method, allowed);
    return ToGrpc(allowed);
  }

 private:
  const std::shared_ptr<TokenFile> tokens_;
  RefusalLog refusals_;
};

}  // namespace

std::shared_ptr<grpc::AuthMetadataProcessor> MakeWorkerGate() {
  return std::make_shared<WorkerGate>();
}

std::shared_ptr<grpc::AuthMetadataProcessor> MakeClientGate(std::shared_ptr<TokenFile> tokens) {
  return std::make_shared<ClientGate>(std::move(tokens));
}

}  // namespace headlong
