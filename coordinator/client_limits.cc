#include "coordinator/client_limits.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_format.h"
#include "common/status.h"
#include "coordinator/retry_hint.h"

namespace headlong {
namespace {

// Called by whoever calls a ClientPort: one thread at a time.
class CountedPort final : public ClientPort {
 public:
  CountedPort(ClientLimits* limits, Caller caller, std::shared_ptr<ClientPort> port)
      : limits_(*limits), caller_(std::move(caller)), port_(std::move(port)) {}
  ~CountedPort() override { End(); }

  void Accepted(int64_t prompt_tokens, uint64_t seed) override {
    limits_.Charge(caller_, prompt_tokens, std::chrono::steady_clock::now());
    port_->Accepted(prompt_tokens, seed);
  }
  void Progress(int64_t prefilled, int64_t prompt_tokens) override {
    port_->Progress(prefilled, prompt_tokens);
  }
  void Token(const DeliveredToken& token) override {
    limits_.Charge(caller_, 1, std::chrono::steady_clock::now());
    port_->Token(token);
  }
  void Finished(const FinishedRequest& finished) override {
    End();  // before the client hears of it, and asks again
    port_->Finished(finished);
  }
  void Failed(const absl::Status& status) override {
    End();
    port_->Failed(status);
  }

 private:
  void End() {
    if (!std::exchange(ended_, true)) limits_.End(caller_);
  }

  ClientLimits& limits_;
  const Caller caller_;
  const std::shared_ptr<ClientPort> port_;
  bool ended_ = false;
};

}  // namespace

void ClientLimits::Drain(const Caller& caller, Use& use, TimePoint now) {
  const double seconds = std::max(0.0, MillisBetween(use.counted, now) / 1e3);
  use.used = std::max(0.0, use.used - seconds * caller.limits.tokens_per_second);
  use.counted = std::max(use.counted, now);
}

absl::Status ClientLimits::RateOf(const Caller& caller, TimePoint now) {
  const double rate = caller.limits.tokens_per_second;
  if (rate <= 0) return absl::OkStatus();
  Use& use = uses_[caller.name];
  Drain(caller, use, now);
  const double over = use.used - rate * static_cast<double>(kRateWindow.count());
  if (over < 0) return absl::OkStatus();
  const auto wait = static_cast<int64_t>(std::ceil(over / rate * 1e3));
  return TryAgain(absl::StrFormat("%g tokens per second are what this access token is for", rate),
                  std::max(std::chrono::milliseconds(wait), std::chrono::milliseconds(1)));
}

absl::Status ClientLimits::CheckRate(const Caller& caller, TimePoint now) {
  const absl::MutexLock lock(&mutex_);
  return RateOf(caller, now);
}

absl::Status ClientLimits::Begin(const Caller& caller, TimePoint now) {
  const absl::MutexLock lock(&mutex_);
  const int64_t most = caller.limits.max_concurrent;
  Use& use = uses_[caller.name];
  if (most > 0 && use.in_flight >= most) {
    return TryAgain(absl::StrFormat("%d requests at once are what this access token is for", most),
                    kRetryAfter);
  }
  RETURN_IF_ERROR(RateOf(caller, now));
  ++use.in_flight;
  return absl::OkStatus();
}

void ClientLimits::End(const Caller& caller) {
  const absl::MutexLock lock(&mutex_);
  --uses_[caller.name].in_flight;
}

void ClientLimits::Charge(const Caller& caller, int64_t tokens, TimePoint now) {
  if (caller.limits.tokens_per_second <= 0) return;
  const absl::MutexLock lock(&mutex_);
  Use& use = uses_[caller.name];
  Drain(caller, use, now);
  use.used += static_cast<double>(tokens);
}

std::shared_ptr<ClientPort> ClientLimits::Count(const Caller& caller,
                                                std::shared_ptr<ClientPort> port) {
  return std::make_shared<CountedPort>(this, caller, std::move(port));
}

}  // namespace headlong
