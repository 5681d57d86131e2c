#include "coordinator/request_log.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "common/log_fields.h"

namespace headlong {
namespace {

class LoggedPort final : public ClientPort {
 public:
  LoggedPort(std::shared_ptr<ClientPort> port, LoggedRequest request)
      : port_(std::move(port)), request_(std::move(request)) {}

  void Accepted(int64_t prompt_tokens, uint64_t seed) override {
    const LogFields fields = Fields();
    spdlog::debug("request of {} prompt tokens is queued", prompt_tokens);
    port_->Accepted(prompt_tokens, seed);
  }
  void Progress(int64_t prefilled, int64_t prompt_tokens) override {
    port_->Progress(prefilled, prompt_tokens);
  }
  void Token(const DeliveredToken& token) override { port_->Token(token); }
  void Finished(const FinishedRequest& finished) override {
    const LogFields fields = Fields();
    spdlog::info(
        "request ended: {}; {} prompt tokens, {} generated; queue {:.1f} ms, prefill {:.1f} ms, "
        "decode {:.1f} ms",
        FinishReasonName(finished.reason), finished.prompt_tokens, finished.completion_tokens,
        finished.queue_ms, finished.prefill_ms, finished.decode_ms);
    port_->Finished(finished);
  }
  void Failed(const absl::Status& status) override {
    const LogFields fields = Fields();
    // What a message says of wrong fields may quote the client.
    const bool quotes = absl::IsInvalidArgument(status);
    spdlog::info("request failed: {}{}", absl::StatusCodeToString(status.code()),
                 quotes ? "" : ": " + std::string(status.message()));
    port_->Failed(status);
  }

 private:
  LogFields Fields() const {
    return LogFields({{"request_id", request_.request_id},
                      {"trace_id", request_.trace_id},
                      {"caller", request_.caller}});
  }

  const std::shared_ptr<ClientPort> port_;
  const LoggedRequest request_;
};

}  // namespace

std::shared_ptr<ClientPort> LogTo(std::shared_ptr<ClientPort> port, const LoggedRequest& request) {
  return std::make_shared<LoggedPort>(std::move(port), request);
}

}  // namespace headlong
