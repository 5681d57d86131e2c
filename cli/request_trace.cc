#include "cli/request_trace.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cli/quantity.h"
#include "cli/terminal.h"

namespace headlong {
namespace {

constexpr int kLeftColumns = 22;  // begin and length
constexpr int kMostBarCells = 60;
constexpr int kFewestBarCells = 20;
constexpr double kSlowReaderMs = 1000;  // a message that waits so long is worth a word

struct KindLook {
  const char* kind;
  const char* utf8;
  const char* ascii;
  const char* style;  // ANSI
};
constexpr KindLook kLooks[] = {
    {"received", "▪", ":", "90"}, {"waiting", "░", ".", "33"}, {"prefill", "█", "#", "34"},
    {"replay", "▓", "%", "35"},   {"decode", "▒", "=", "32"},  {"lost", "×", "x", "31"},
    {"paused", "┄", "!", "31"},   {"sending", "─", "-", "36"},
};

const KindLook& LookOf(const std::string& kind) {
  for (const KindLook& look : kLooks) {
    if (kind == look.kind) return look;
  }
  return kLooks[0];
}

// "2026-01-31T12:00:00.123Z"
std::string TimeText(int64_t unix_ms) {
  const std::time_t seconds = static_cast<std::time_t>(unix_ms / 1000);
  std::tm parts = {};
  gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
  return absl::StrFormat("%s.%03dZ", text, unix_ms % 1000);
}

std::string Count(uint64_t count, const char* noun) {
  return absl::StrCat(FormatCount(static_cast<int64_t>(count)), " ", noun, count == 1 ? "" : "s");
}

// Where a span begins: other requests' steps may lie between those of this one.
std::string StepsText(const v1::TraceSpan& span, uint32_t steps) {
  return absl::StrCat(steps == 1 ? "step " : "from step ", span.first_step(), " of epoch ",
                      span.epoch());
}

std::string SpanText(const v1::TraceSpan& span) {
  const std::string& kind = span.kind();
  if (kind == "received") return "received: read, checked, handed to the engine";
  if (kind == "waiting") return absl::StrCat("waits: ", span.reason());
  if (kind == "paused") {
    return absl::StrCat("paused, epoch ", span.epoch(), " ended: ", span.reason());
  }
  if (kind == "lost") return absl::StrCat("lost: ", StepsText(span, 1), " did not end");
  if (kind == "decode") {
    return absl::StrCat("decode, ", Count(span.steps(), "step"), " of ",
                        FormatMillis(span.computed_ms() / std::max(span.steps(), 1u)), ", ",
                        StepsText(span, span.steps()));
  }
  const std::string chunks =
      span.steps() == 1 ? "" : absl::StrCat(" in ", Count(span.steps(), "chunk"));
  return absl::StrCat(kind, ", ", Count(span.tokens(), "token"), chunks, ", ",
                      FormatMillis(span.computed_ms()), " computing, ",
                      StepsText(span, span.steps()));
}

bool Joins(const v1::TraceSpan& span, const v1::TraceSpan& next) {
  const bool chunk = next.kind() == "prefill" || next.kind() == "replay";
  return chunk && span.kind() == next.kind() && span.epoch() == next.epoch();
}

std::string Bar(const TraceRow& row, double end_ms, int cells, const MapStyle& style) {
  const double scale = end_ms > 0 ? cells / end_ms : 0;
  const int begin = std::min(static_cast<int>(row.begin_ms * scale), cells - 1);
  const int end = std::clamp(static_cast<int>(std::lround(row.end_ms * scale)), begin + 1, cells);
  const KindLook& look = LookOf(row.kind);
  std::string bar;
  for (int cell = begin; cell < end; ++cell) bar += style.utf8 ? look.utf8 : look.ascii;
  return absl::StrCat(std::string(begin, ' '), Styled(bar, look.style, style.colour),
                      std::string(cells - end, ' '));
}

std::string Draw(const v1::RequestTrace& trace, bool every_chunk, const MapStyle& style) {
  std::string text;
  size_t width = 0;
  const auto facts = TraceFacts(trace);
  for (const auto& [name, value] : facts) width = std::max(width, name.size());
  for (const auto& [name, value] : facts) {
    absl::StrAppend(&text, name, std::string(width - name.size() + 2, ' '), value, "\n");
  }
  const double end_ms = TraceEndMs(trace);
  const int cells = std::clamp((style.width - kLeftColumns) / 2, kFewestBarCells, kMostBarCells);
  absl::StrAppend(&text, "\n",
                  absl::StrFormat("%9s  %9s  %-*s  %s\n", "at", "for", cells,
                                  absl::StrCat("0 to ", FormatMillis(end_ms)), "what"));
  for (const TraceRow& row : TraceRows(trace, every_chunk)) {
    absl::StrAppend(&text,
                    absl::StrFormat("%9s  %9s  ", FormatMillis(row.begin_ms),
                                    FormatMillis(row.end_ms - row.begin_ms)),
                    Bar(row, end_ms, cells, style), "  ", row.text, "\n");
  }
  return text;
}

OutputJson SpanJson(const v1::TraceSpan& span) {
  OutputJson json;
  json["kind"] = span.kind();
  json["begin_ms"] = span.begin_ms();
  json["end_ms"] = span.end_ms();
  if (!span.reason().empty()) json["reason"] = span.reason();
  if (span.epoch() > 0) json["epoch"] = span.epoch();
  if (span.steps() == 0) return json;
  json["first_step"] = span.first_step();
  json["steps"] = span.steps();
  json["tokens"] = span.tokens();
  json["computed_ms"] = span.computed_ms();
  return json;
}

std::set<uint64_t> EpochsOf(const v1::RequestTrace& trace) {
  std::set<uint64_t> epochs;
  for (const v1::TraceSpan& span : trace.spans()) {
    if (span.epoch() > 0) epochs.insert(span.epoch());
  }
  return epochs;
}

OutputJson TraceJson(const v1::RequestTrace& trace) {
  OutputJson json;
  json["id"] = trace.request_id();
  json["trace_id"] = trace.trace_id();
  json["caller"] = trace.caller();
  json["received"] = TimeText(trace.received_unix_ms());
  json["state"] = trace.state();
  json["end"] = trace.end();
  json["age_ms"] = trace.age_ms();
  json["prompt_tokens"] = trace.prompt_tokens();
  json["max_tokens"] = trace.max_tokens();
  json["sampled_tokens"] = trace.sampled_tokens();
  json["first_token_ms"] = trace.first_token_ms();
  json["preemptions"] = trace.preemptions();
  json["epochs"] = EpochsOf(trace);
  json["decode"] = {{"steps", trace.decode().steps()},
                    {"mean_ms", trace.decode().mean_ms()},
                    {"p99_ms", trace.decode().p99_ms()},
                    {"max_ms", trace.decode().max_ms()},
                    {"slowest_step", trace.decode().slowest_step()},
                    {"slowest_epoch", trace.decode().slowest_epoch()}};
  const v1::Delivery& delivery = trace.delivery();
  json["delivery"] = {{"messages", delivery.messages()},
                      {"waiting", delivery.waiting()},
                      {"most_waiting", delivery.most_waiting()},
                      {"longest_wait_ms", delivery.longest_wait_ms()},
                      {"closed_ms", delivery.closed_ms()}};
  json["spans"] = OutputJson::array();
  for (const v1::TraceSpan& span : trace.spans()) json["spans"].push_back(SpanJson(span));
  json["spans_forgotten"] = trace.spans_forgotten();
  return json;
}

std::string DeliveryText(const v1::Delivery& delivery) {
  std::string text = Count(delivery.messages(), "message");
  if (delivery.most_waiting() > 0) {
    absl::StrAppend(&text, ", at most ", delivery.most_waiting(), " waited at once, the longest ",
                    FormatMillis(delivery.longest_wait_ms()));
  }
  if (delivery.waiting() > 0) absl::StrAppend(&text, "; ", delivery.waiting(), " wait");
  if (delivery.longest_wait_ms() > kSlowReaderMs) text += ": the client reads slowly";
  return text;
}

}  // namespace

double TraceEndMs(const v1::RequestTrace& trace) {
  return std::max(trace.age_ms(), trace.delivery().closed_ms());
}

std::vector<std::pair<std::string, std::string>> TraceFacts(const v1::RequestTrace& trace) {
  std::vector<std::pair<std::string, std::string>> facts;
  const std::string& id = trace.trace_id();
  facts.emplace_back("request", absl::StrCat(trace.request_id(), id.empty() ? "" : ", trace ", id));
  if (!trace.caller().empty()) facts.emplace_back("caller", trace.caller());
  facts.emplace_back("received", TimeText(trace.received_unix_ms()));
  facts.emplace_back("state", absl::StrCat(trace.state(), trace.end().empty() ? "" : ": ",
                                           trace.end(), trace.end().empty() ? ", for " : ", after ",
                                           FormatMillis(trace.age_ms())));
  facts.emplace_back("prompt", Count(trace.prompt_tokens(), "token"));
  facts.emplace_back("answered", absl::StrCat(FormatCount(trace.sampled_tokens()), " of at most ",
                                              Count(trace.max_tokens(), "token")));
  if (const auto epochs = EpochsOf(trace); !epochs.empty()) {
    facts.emplace_back("epochs", absl::StrJoin(epochs, ", "));
  }
  facts.emplace_back("first token",
                     trace.first_token_ms() > 0
                         ? absl::StrCat("after ", FormatMillis(trace.first_token_ms()))
                         : "not yet");
  if (const v1::DecodeSteps& decode = trace.decode(); decode.steps() > 0) {
    facts.emplace_back(
        "decode", absl::StrFormat("%s, mean %s, p99 %s, slowest %s (step %d of epoch %d)",
                                  Count(decode.steps(), "step"), FormatMillis(decode.mean_ms()),
                                  FormatMillis(decode.p99_ms()), FormatMillis(decode.max_ms()),
                                  decode.slowest_step(), decode.slowest_epoch()));
  }
  if (trace.preemptions() > 0) {
    facts.emplace_back("preempted", Count(trace.preemptions(), "time"));
  }
  facts.emplace_back("delivery", DeliveryText(trace.delivery()));
  if (trace.spans_forgotten() > 0) {
    facts.emplace_back("forgotten", Count(trace.spans_forgotten(), "line") + " of the middle");
  }
  return facts;
}

std::vector<TraceRow> TraceRows(const v1::RequestTrace& trace, bool every_chunk) {
  std::vector<TraceRow> rows;
  v1::TraceSpan joined;
  for (int i = 0; i < trace.spans_size(); ++i) {
    const v1::TraceSpan& span = trace.spans(i);
    if (joined.steps() > 0 && !every_chunk && Joins(joined, span)) {
      joined.set_end_ms(span.end_ms());
      joined.set_steps(joined.steps() + span.steps());
      joined.set_tokens(joined.tokens() + span.tokens());
      joined.set_computed_ms(joined.computed_ms() + span.computed_ms());
      rows.pop_back();
    } else {
      joined = span;
    }
    rows.push_back({joined.kind(), SpanText(joined), joined.begin_ms(), joined.end_ms()});
  }
  const double closed_ms = trace.delivery().closed_ms();
  const bool ended = trace.state() == "ended";
  if (ended && closed_ms > trace.age_ms()) {
    rows.push_back({"sending", "the client takes what was left", trace.age_ms(), closed_ms});
  } else if (ended && closed_ms == 0) {
    rows.push_back({"sending", "the client has not taken all yet", trace.age_ms(), trace.age_ms()});
  }
  return rows;
}

AdminView TraceView(const v1::RequestTrace& trace, const MapStyle& style) {
  AdminView view;
  view.json = TraceJson(trace);
  view.names = trace.request_id() + "\n";
  view.table = Draw(trace, /*every_chunk=*/false, style);
  view.wide = Draw(trace, /*every_chunk=*/true, style);
  return view;
}

}  // namespace headlong
