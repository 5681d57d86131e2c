#include "coordinator/request.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/name_rule.h"
#include "common/status.h"

namespace headlong {
namespace {

absl::Status Refuse(std::string_view field, const absl::AlphaNum& value, std::string_view range) {
  return absl::InvalidArgumentError(
      absl::StrCat(Av(field), ": must be ", Av(range), ", is ", value));
}

absl::Status CheckTokens(std::string_view field, const std::vector<TokenId>& tokens,
                         int64_t vocab_size) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] >= vocab_size) {
      return Refuse(absl::StrCat(Av(field), "[", i, "]"), tokens[i],
                    absl::StrCat("a token id in [0, ", vocab_size, ")"));
    }
  }
  return absl::OkStatus();
}

// NaN fails every comparison, so ranges are asked for, not their complements.
absl::StatusOr<Sampling> CheckSampling(const RequestInput& input, uint64_t fresh_seed) {
  Sampling sampling;
  sampling.temperature = input.temperature.value_or(1);
  if (!(sampling.temperature >= 0 && sampling.temperature <= 2)) {
    return Refuse("temperature", sampling.temperature, "in [0, 2]");
  }
  sampling.top_p = input.top_p.value_or(1);
  if (!(sampling.top_p > 0 && sampling.top_p <= 1)) {
    return Refuse("top_p", sampling.top_p, "in (0, 1]");
  }
  const int64_t top_k = input.top_k.value_or(0);
  if (top_k < -1 || top_k > std::numeric_limits<int32_t>::max()) {
    return Refuse("top_k", top_k, "-1 or 0 (all) or in [1, 2147483647]");
  }
  sampling.top_k = static_cast<int32_t>(std::max<int64_t>(top_k, 0));
  sampling.min_p = input.min_p.value_or(0);
  if (!(sampling.min_p >= 0 && sampling.min_p <= 1)) {
    return Refuse("min_p", sampling.min_p, "in [0, 1]");
  }
  if (input.logprobs) {
    if (*input.logprobs < 0 || *input.logprobs > kMaxLogprobs) {
      return Refuse("logprobs", *input.logprobs, absl::StrCat("in [0, ", kMaxLogprobs, "]"));
    }
    sampling.logprobs = static_cast<int>(*input.logprobs);
  }
  sampling.seed = input.seed.value_or(fresh_seed);
  sampling.ignore_eos = input.ignore_eos;
  return sampling;
}

absl::Status CheckStops(const std::vector<std::string>& stops) {
  if (stops.size() > kMaxStopStrings) {
    return Refuse("stop", stops.size(), absl::StrCat("at most ", kMaxStopStrings, " strings"));
  }
  for (size_t i = 0; i < stops.size(); ++i) {
    if (stops[i].empty() || stops[i].size() > kMaxStopBytes) {
      return Refuse(absl::StrCat("stop[", i, "]"), absl::StrCat(stops[i].size(), " bytes"),
                    absl::StrCat("of 1 to ", kMaxStopBytes, " bytes"));
    }
  }
  return absl::OkStatus();
}

// The last token generated is never computed, but the context counts it all the same: prompt and
// max_tokens together are what a client plans with.
absl::StatusOr<int64_t> CheckLengths(const RequestInput& input, int64_t max_context) {
  const int64_t prompt = static_cast<int64_t>(input.prompt.size());
  if (prompt == 0) return absl::InvalidArgumentError("prompt: must hold at least one token");
  if (prompt >= max_context) {
    return Refuse("prompt", absl::StrCat(prompt, " tokens"),
                  absl::StrCat("shorter than the context of ", max_context, " tokens"));
  }
  if (input.prompt_tokens && (*input.prompt_tokens < 1 || *input.prompt_tokens > prompt)) {
    return Refuse("prompt_tokens", *input.prompt_tokens, absl::StrCat("in [1, ", prompt, "]"));
  }
  const int64_t room = max_context - prompt;
  const int64_t max_tokens = input.max_tokens.value_or(std::min(kDefaultMaxTokens, room));
  if (max_tokens < 1) return Refuse("max_tokens", max_tokens, "at least 1");
  if (max_tokens > room) {
    return Refuse("max_tokens", max_tokens,
                  absl::StrCat("at most ", room, " (context of ", max_context,
                               " tokens less the prompt's ", prompt, ")"));
  }
  if (static_cast<int64_t>(input.resume.size()) > max_tokens) {
    return Refuse("resume_token_ids", absl::StrCat(input.resume.size(), " ids"),
                  absl::StrCat("at most max_tokens = ", max_tokens, " ids"));
  }
  return max_tokens;
}

// Positions rise, lie in the prompt, and no step has more of them than it can gather.
absl::Status CheckProbe(const v1::Probe& probe, int64_t prompt, const RequestLimits& limits) {
  const auto& positions = probe.positions();
  for (int i = 0; i < positions.size(); ++i) {
    if (positions[i] >= prompt || (i > 0 && positions[i] <= positions[i - 1])) {
      return Refuse("probe.positions", absl::StrCat(positions[i]),
                    absl::StrCat("ascending and below ", prompt, ", the prompt's length"));
    }
    const int before = i - limits.max_sequences;
    if (before >= 0 && int64_t{positions[i]} - positions[before] < limits.max_batch_tokens) {
      return Refuse("probe.positions", absl::StrCat(positions[i]),
                    absl::StrCat("one of at most ", limits.max_sequences, " in any ",
                                 limits.max_batch_tokens));
    }
  }
  if (probe.period() == 1) return Refuse("probe.period", "1", "0, or at least 2");
  const auto& rows = probe.copying_rows();
  if (rows.size() != probe.copied_positions().size()) {
    return Refuse("probe.copied_positions", absl::StrCat(probe.copied_positions().size()),
                  absl::StrCat("as many as copying_rows, ", rows.size()));
  }
  for (int i = 0; i < rows.size(); ++i) {
    if (rows[i] >= prompt || (i > 0 && rows[i] < rows[i - 1])) {
      return Refuse("probe.copying_rows", absl::StrCat(rows[i]),
                    absl::StrCat("rising and below ", prompt, ", the prompt's length"));
    }
    if (probe.copied_positions(i) > rows[i]) {
      return Refuse("probe.copied_positions", absl::StrCat(probe.copied_positions(i)),
                    absl::StrCat("at most ", rows[i], ", the row that copies"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Request> MakeRequest(RequestInput input, const RequestLimits& limits,
                                    const FreshValues& fresh) {
  if (!input.request_id.empty() && !IsName(input.request_id)) {
    return absl::InvalidArgumentError(absl::StrCat("request_id: must match ", Av(kNameRule),
                                                   " or be empty, is of ", input.request_id.size(),
                                                   " bytes"));
  }
  if (input.model && *input.model != limits.model_name) {
    return Refuse("model", absl::StrCat("\"", input.model->substr(0, 64), "\""),
                  absl::StrCat("\"", limits.model_name, "\", the model served here"));
  }
  ASSIGN_OR_RETURN(const int64_t max_tokens, CheckLengths(input, limits.max_context));
  RETURN_IF_ERROR(CheckTokens("token_ids", input.prompt, limits.vocab_size));
  RETURN_IF_ERROR(CheckTokens("resume_token_ids", input.resume, limits.vocab_size));
  RETURN_IF_ERROR(CheckStops(input.stop));
  if (input.probe) {
    RETURN_IF_ERROR(CheckProbe(*input.probe, std::ssize(input.prompt), limits));
  }
  Request request;
  ASSIGN_OR_RETURN(request.sampling, CheckSampling(input, fresh.seed));
  request.id = input.request_id.empty() ? fresh.request_id : std::move(input.request_id);
  request.caller = std::move(input.caller);
  request.prompt_length = static_cast<int64_t>(input.prompt.size());
  request.original_prompt_tokens = input.prompt_tokens.value_or(request.prompt_length);
  request.max_tokens = max_tokens;
  request.stop = std::move(input.stop);
  request.report_progress = input.report_progress;
  request.probe = std::move(input.probe);
  request.tokens = std::move(input.prompt);
  request.tokens.insert(request.tokens.end(), input.resume.begin(), input.resume.end());
  return request;
}

}  // namespace headlong
