// TraceSvg: one row for each kind of stretch, over the request's time.
#include <algorithm>
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "cli/quantity.h"
#include "cli/request_trace.h"
#include "cli/svg.h"

namespace headlong {
namespace {

constexpr double kLeft = 90, kWidth = 840, kRow = 24, kBarHeight = 16, kFactRow = 17;
constexpr double kThinnest = 1.5;  // so that a stretch of no time is seen
constexpr int kTicks = 6;

constexpr std::pair<const char*, const char*> kColours[] = {
    {"received", "#8a919c"}, {"waiting", "#e0b43c"}, {"prefill", "#3567b0"}, {"replay", "#8b5fbf"},
    {"decode", "#3f9a55"},   {"lost", "#c23b3b"},    {"paused", "#d97a6c"},  {"sending", "#3aa0a8"},
};

}  // namespace

std::string TraceSvg(const v1::RequestTrace& trace) {
  SvgCanvas canvas;
  double y = 20;
  for (const auto& [name, value] : TraceFacts(trace)) {
    canvas.Text({8, y}, name);
    canvas.Text({kLeft, y}, value);
    y += kFactRow;
  }
  y += kRow / 2;
  const double end_ms = std::max(TraceEndMs(trace), 1e-3);
  const auto x_of = [&](double ms) { return kLeft + ms / end_ms * kWidth; };
  const std::vector<TraceRow> rows = TraceRows(trace, /*every_chunk=*/true);
  const double top = y;
  for (const auto& [kind, colour] : kColours) {
    const auto is = [&, name = std::string(kind)](const TraceRow& row) { return row.kind == name; };
    if (std::none_of(rows.begin(), rows.end(), is)) continue;
    canvas.Text({8, y + kBarHeight - 4}, kind);
    for (const TraceRow& row : rows) {
      if (!is(row)) continue;
      const double width = std::max(x_of(row.end_ms) - x_of(row.begin_ms), kThinnest);
      canvas.Rect({x_of(row.begin_ms), y}, width, kBarHeight, colour,
                  absl::StrCat(FormatMillis(row.begin_ms), ", for ",
                               FormatMillis(row.end_ms - row.begin_ms), ": ", row.text));
    }
    y += kRow;
  }
  if (trace.first_token_ms() > 0) {
    const double x = x_of(trace.first_token_ms());
    canvas.Line({x, top - 4}, {x, y});
    SvgTextStyle style;
    style.halo = true;
    canvas.Text({x + 3, top - 5}, "first token", style);
  }
  canvas.Line({kLeft, y}, {kLeft + kWidth, y});
  for (int tick = 0; tick <= kTicks; ++tick) {
    const double ms = end_ms * tick / kTicks;
    canvas.Line({x_of(ms), y}, {x_of(ms), y + 4});
    SvgTextStyle style;
    style.anchor = SvgTextStyle::Anchor::kMiddle;
    canvas.Text({x_of(ms), y + kFactRow}, FormatMillis(ms), style);
  }
  return canvas.Document(kLeft + kWidth + 40, y + 2 * kRow);
}

}  // namespace headlong
