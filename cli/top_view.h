// What `headlong top` shows: a cluster between two looks at it. Pure.
#pragma once

#include <optional>
#include <string>

#include "cli/json_output.h"
#include "headlong/v1/admin.pb.h"

namespace headlong {

struct TopSample {
  v1::GetClusterResponse cluster;
  v1::ListWorkersResponse workers;
  v1::ListRequestsResponse requests;
  double at_s = 0;  // monotonic, of the caller
};

struct TopView {
  TopSample now;
  std::optional<TopSample> before;  // none: there are no rates yet
  std::string server;
  int width = 80;
  bool colour = false;
};

// Rates are null where two looks do not tell: at first, and after the coordinator started anew.
OutputJson TopJson(const TopView& view);
// No line is wider than the view.
std::string TopText(const TopView& view);

}  // namespace headlong
