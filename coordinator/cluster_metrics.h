// The state of the cluster as Prometheus metrics. Pure.
#pragma once

#include <vector>

#include "headlong/v1/admin.pb.h"
#include "prometheus/metric_family.h"

namespace headlong {

// Base units in the names; labels are the worker's id, its state, or a role of heads.
std::vector<prometheus::MetricFamily> ClusterMetrics(const v1::GetClusterResponse& cluster,
                                                     const v1::ListWorkersResponse& workers);

}  // namespace headlong
