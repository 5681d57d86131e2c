// What plans cost over the bytes they take: the best sums of single costs as a line, plans that
// were measured as points. SVG; both axes are logarithmic. Pure.
#pragma once

#include <string>
#include <vector>

#include "coordinator/calibration/budget_plan.h"

namespace headlong {

struct CostPoint {
  std::string name;
  int64_t bytes = 0;
  double kl = 0;
};

struct CostPlot {
  std::string title;
  int64_t full_bytes = 0;
  std::vector<CurvePoint> curve;
  std::vector<CostPoint> points;
};

// A cost of 0 stands on the lower edge.
std::string CostCurveSvg(const CostPlot& plot);

}  // namespace headlong
