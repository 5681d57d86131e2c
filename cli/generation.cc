#include "cli/generation.h"

#include "absl/strings/str_cat.h"
#include "cli/exit_code.h"
#include "cli/interrupt.h"

namespace headlong {
namespace {

void Apply(const v1::GenerateResponse& response, const GenerationEvents& events,
           GenerationResult* result) {
  if (!response.request_id().empty()) result->id = response.request_id();
  switch (response.event_case()) {
    case v1::GenerateResponse::kAccepted:
      result->prompt_tokens = response.accepted().prompt_tokens();
      result->seed = response.accepted().seed();
      if (events.accepted) events.accepted(response.accepted());
      break;
    case v1::GenerateResponse::kProgress:
      if (events.progress) events.progress(response.progress());
      break;
    case v1::GenerateResponse::kChunk: {
      const v1::TokenChunk& chunk = response.chunk();
      result->token_ids.insert(result->token_ids.end(), chunk.token_ids().begin(),
                               chunk.token_ids().end());
      result->logprobs.insert(result->logprobs.end(), chunk.logprobs().begin(),
                              chunk.logprobs().end());
      result->text += chunk.text();
      if (events.text && !chunk.text().empty()) events.text(chunk.text());
      break;
    }
    case v1::GenerateResponse::kFinished:
      result->finished = response.finished();
      result->text += response.finished().text();
      if (events.text && !response.finished().text().empty()) {
        events.text(response.finished().text());
      }
      break;
    case v1::GenerateResponse::EVENT_NOT_SET:
      break;  // an event of a newer server
  }
}

OutputJson UsageJson(const v1::Usage& usage) {
  OutputJson json;
  json["prompt_tokens"] = usage.prompt_tokens();
  json["cached_tokens"] = usage.cached_tokens();
  json["completion_tokens"] = usage.completion_tokens();
  json["cache_bytes"] = usage.cache_bytes();
  json["full_cache_bytes"] = usage.full_cache_bytes();
  return json;
}

OutputJson TimingJson(const v1::Timing& timing) {
  OutputJson json;
  json["queue"] = timing.queue_ms();
  json["prefill"] = timing.prefill_ms();
  json["decode"] = timing.decode_ms();
  json["total"] = timing.total_ms();
  return json;
}

OutputJson LogprobsJson(const v1::TokenLogprobs& logprobs) {
  OutputJson json;
  json["token_id"] = logprobs.token_id();
  json["logprob"] = FloatJson(logprobs.logprob());
  json["top"] = OutputJson::array();
  for (const v1::TopLogprob& top : logprobs.top()) {
    json["top"].push_back(OutputJson::array({top.token_id(), FloatJson(top.logprob())}));
  }
  return json;
}

}  // namespace

bool GenerationResult::ok() const {
  return error.ok() && finished.has_value() &&
         (finished->reason() == v1::FINISH_REASON_STOP ||
          finished->reason() == v1::FINISH_REASON_LENGTH);
}

std::string GenerationResult::finish_reason() const {
  if (error.code() == absl::StatusCode::kCancelled) return "cancelled";
  if (!error.ok() || !finished) return "error";
  switch (finished->reason()) {
    case v1::FINISH_REASON_STOP:
      return "stop";
    case v1::FINISH_REASON_LENGTH:
      return "length";
    case v1::FINISH_REASON_CANCELLED:
      return "cancelled";
    default:
      return "error";
  }
}

absl::Status GenerationResult::failure() const {
  if (!error.ok()) return error;
  if (ok()) return absl::OkStatus();
  if (finish_reason() == "cancelled") {
    return absl::CancelledError(absl::StrCat("request ", id, " was cancelled"));
  }
  return absl::InternalError(absl::StrCat("request ", id, " failed on the server"));
}

GenerationResult RunGeneration(Client& client, const v1::GenerateRequest& request,
                               const GenerationEvents& events, std::chrono::milliseconds deadline) {
  GenerationResult result;
  result.id = request.request_id();
  grpc::ClientContext context;
  if (deadline.count() > 0) context.set_deadline(std::chrono::system_clock::now() + deadline);
  client.Watch(&context);
  const auto reader = client.inference().Generate(&context, request);
  v1::GenerateResponse response;
  while (reader->Read(&response)) Apply(response, events, &result);
  const grpc::Status status = reader->Finish();
  client.Unwatch(&context);
  if (!status.ok()) {
    result.error = client.Explain(status);
  } else if (!result.finished) {
    result.error = absl::InternalError("the server ended the stream without saying why");
  }
  return result;
}

OutputJson GenerationJson(const GenerationResult& result) {
  OutputJson json;
  json["id"] = result.id;
  json["text"] = result.text;
  json["token_ids"] = result.token_ids;
  json["finish_reason"] = result.finish_reason();
  if (result.finished) {
    json["usage"] = UsageJson(result.finished->usage());
    json["timing_ms"] = TimingJson(result.finished->timing());
  }
  if (!result.logprobs.empty()) {
    json["logprobs"] = OutputJson::array();
    for (const v1::TokenLogprobs& entry : result.logprobs) {
      json["logprobs"].push_back(LogprobsJson(entry));
    }
  }
  if (const absl::Status failure = result.failure(); !failure.ok()) {
    json["error"] = ErrorJson(failure);
  }
  return json;
}

}  // namespace headlong
