#include "coordinator/request_trace.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace headlong {
namespace {

constexpr size_t kMostReasonBytes = 160;
constexpr size_t kFirstSpans = 32;  // never forgotten: how it began is asked most
constexpr double kShortestMs = 0.01;
constexpr double kBucketGrowth = 1.1;

bool IsChunk(const v1::TraceSpan& span) {
  return span.kind() == "prefill" || span.kind() == "replay";
}

// Whether `next` may be told as part of `span`.
bool Alike(const v1::TraceSpan& span, const v1::TraceSpan& next) {
  return span.kind() == next.kind() && span.epoch() == next.epoch() && next.steps() > 0;
}

void Join(const v1::TraceSpan& next, v1::TraceSpan& span) {
  span.set_end_ms(next.end_ms());
  span.set_steps(span.steps() + next.steps());
  span.set_tokens(span.tokens() + next.tokens());
  span.set_computed_ms(span.computed_ms() + next.computed_ms());
}

}  // namespace

const char* TextOf(WaitCause cause) {
  switch (cause) {
    case WaitCause::kNextStep:
      return "the step that was running";
    case WaitCause::kCluster:
      return "no epoch serves";
    case WaitCause::kOlder:
      return "older requests begin first";
    case WaitCause::kSequences:
      return "as many sequences run as may";
    case WaitCause::kRows:
      return "the step is full";
    case WaitCause::kPages:
      return "the cache has no room for its tokens";
    case WaitCause::kExact:
      return "another prompt's exact prefill";
    case WaitCause::kSuspect:
      return "it was in a step that crashed, as another one that runs";
  }
  return "";
}

RequestTrace::RequestTrace(const Request& request, TimePoint now, int64_t unix_ms)
    : received_(request.origin.received.value_or(now)), sends_(request.origin.sends) {
  trace_.set_request_id(request.id);
  trace_.set_trace_id(request.origin.trace_id);
  trace_.set_caller(request.caller.name);
  trace_.set_received_unix_ms(unix_ms - static_cast<int64_t>(At(now)));
  trace_.set_prompt_tokens(static_cast<uint32_t>(request.prompt_length));
  trace_.set_max_tokens(static_cast<uint32_t>(request.max_tokens));
  trace_.set_state("waiting");
  Open("received", received_);
  Close(now);
}

v1::TraceSpan& RequestTrace::Open(const char* kind, TimePoint now) {
  Close(now);
  if (spans_.size() >= kMostSpans) Shrink();
  v1::TraceSpan& span = spans_.emplace_back();
  span.set_kind(kind);
  span.set_begin_ms(At(now));
  open_ = true;
  return span;
}

void RequestTrace::Close(TimePoint now) {
  if (open_) spans_.back().set_end_ms(At(now));
  open_ = false;
}

void RequestTrace::Wait(const std::string& why, TimePoint now) {
  const bool waits = open_ && spans_.back().kind() == "waiting";
  if (waits && spans_.back().reason() == why) return;
  Open("waiting", now).set_reason(why.substr(0, kMostReasonBytes));
  if (trace_.state() != "running" || !begun()) trace_.set_state("waiting");
}

void RequestTrace::Computed(const TracedStep& step, TimePoint now) {
  const double ms = MillisBetween(step.sent, now);
  const bool decodes =
      step.tokens == 1 && step.sample && trace_.first_token_ms() > 0 && step.progress >= reached_;
  v1::TraceSpan span;
  span.set_kind(decodes ? "decode" : step.progress < reached_ ? "replay" : "prefill");
  span.set_begin_ms(At(step.sent));
  span.set_end_ms(At(now));
  span.set_epoch(step.epoch);
  span.set_first_step(step.number);
  span.set_steps(1);
  span.set_tokens(static_cast<uint64_t>(step.tokens));
  span.set_computed_ms(ms);
  Close(step.sent);
  if (decodes && Alike(spans_.back(), span)) {
    Join(span, spans_.back());
  } else {
    Open("", step.sent) = span;
    open_ = false;
  }
  if (decodes) CountDecode(step, ms);
  if (step.sample) {
    trace_.set_sampled_tokens(trace_.sampled_tokens() + 1);
    if (trace_.first_token_ms() == 0) trace_.set_first_token_ms(At(now));
  }
  reached_ = std::max(reached_, step.reaches);
  begun_ = true;
  trace_.set_state("running");
}

void RequestTrace::Lost(const TracedStep& step, TimePoint now) {
  v1::TraceSpan& span = Open("lost", step.sent);
  span.set_epoch(step.epoch);
  span.set_first_step(step.number);
  span.set_steps(1);
  Close(now);
}

void RequestTrace::Pause(uint64_t epoch, const std::string& why, TimePoint now) {
  if (!begun()) return Wait(absl::StrCat(TextOf(WaitCause::kCluster), ": ", why), now);
  v1::TraceSpan& span = Open("paused", now);
  span.set_epoch(epoch);
  span.set_reason(why.substr(0, kMostReasonBytes));
  trace_.set_state("paused");
}

void RequestTrace::Resume(bool from_its_lanes, TimePoint now) {
  if (!open_ || spans_.back().kind() != "paused") return;
  absl::StrAppend(spans_.back().mutable_reason(), from_its_lanes
                                                      ? "; it goes on from its lanes"
                                                      : "; it is computed again from its tokens");
  Wait(TextOf(WaitCause::kNextStep), now);
}

void RequestTrace::End(const std::string& how, TimePoint now) {
  Close(now);
  ended_ = true;
  trace_.set_end(how.substr(0, kMostReasonBytes));
  trace_.set_state("ended");
  trace_.set_age_ms(At(now));
  spans_.shrink_to_fit();
}

void RequestTrace::CountDecode(const TracedStep& step, double ms) {
  v1::DecodeSteps& decode = *trace_.mutable_decode();
  decode.set_steps(decode.steps() + 1);
  decode_ms_ += ms;
  if (ms > decode.max_ms()) {
    decode.set_max_ms(ms);
    decode.set_slowest_step(step.number);
    decode.set_slowest_epoch(step.epoch);
  }
  const double bucket = std::log(std::max(ms, kShortestMs) / kShortestMs) / std::log(kBucketGrowth);
  ++decode_times_[std::min(static_cast<int>(bucket), kTimeBuckets - 1)];
}

double RequestTrace::DecodePercentile(double share) const {
  const double wanted = share * trace_.decode().steps();
  double seen = 0;
  for (int bucket = 0; bucket < kTimeBuckets; ++bucket) {
    seen += decode_times_[bucket];
    if (seen < wanted) continue;
    return std::min(kShortestMs * std::pow(kBucketGrowth, bucket + 1), trace_.decode().max_ms());
  }
  return trace_.decode().max_ms();
}

void RequestTrace::Shrink() {
  std::vector<v1::TraceSpan> joined;
  for (v1::TraceSpan& span : spans_) {
    // Pairs, so that long prompts keep their course.
    const bool pair = !joined.empty() && IsChunk(span) && Alike(joined.back(), span) &&
                      joined.back().steps() <= span.steps();
    if (pair) {
      Join(span, joined.back());
    } else {
      joined.push_back(std::move(span));
    }
  }
  if (joined.size() > kMostSpans - kMostSpans / 4) {
    const auto first = joined.begin() + kFirstSpans;
    trace_.set_spans_forgotten(trace_.spans_forgotten() + kMostSpans / 4);
    joined.erase(first, first + kMostSpans / 4);
  }
  spans_ = std::move(joined);
}

v1::RequestTrace RequestTrace::Describe(TimePoint now) const {
  v1::RequestTrace out = trace_;
  for (const v1::TraceSpan& span : spans_) *out.add_spans() = span;
  if (open_) out.mutable_spans()->rbegin()->set_end_ms(At(now));
  if (!ended_) out.set_age_ms(At(now));
  if (out.decode().steps() > 0) {
    out.mutable_decode()->set_mean_ms(decode_ms_ / out.decode().steps());
    out.mutable_decode()->set_p99_ms(DecodePercentile(0.99));
  }
  if (sends_ != nullptr) {
    const SendCounts sends = sends_->counts(now);
    v1::Delivery& delivery = *out.mutable_delivery();
    delivery.set_messages(sends.messages);
    delivery.set_waiting(sends.waiting);
    delivery.set_most_waiting(sends.most_waiting);
    delivery.set_longest_wait_ms(sends.longest_wait_ms);
    if (sends.closed) delivery.set_closed_ms(At(*sends.closed));
  }
  return out;
}

}  // namespace headlong
