// The life of one request as `requests trace` shows it: in words with a bar for each stretch, as
// JSON, and as an SVG picture. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/admin_verb.h"
#include "cli/text_grid.h"
#include "headlong/v1/admin.pb.h"

namespace headlong {

// A line of the picture: stretches of one kind that follow each other in one epoch.
struct TraceRow {
  std::string kind;
  std::string text;  // what happened, in words
  double begin_ms = 0;
  double end_ms = 0;
};

// Chunks of a prompt that follow each other are one row, or with `every_chunk` one each. What was
// sent after the end is the last one.
std::vector<TraceRow> TraceRows(const v1::RequestTrace& trace, bool every_chunk);
// When the last of the rows ends.
double TraceEndMs(const v1::RequestTrace& trace);
// What is said above the rows: names and values.
std::vector<std::pair<std::string, std::string>> TraceFacts(const v1::RequestTrace& trace);

// `wide` shows every chunk of a prompt. Names: the request's id.
AdminView TraceView(const v1::RequestTrace& trace, const MapStyle& style);
std::string TraceSvg(const v1::RequestTrace& trace);

}  // namespace headlong
