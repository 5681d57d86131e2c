// What operators read: answers of the Admin and Inference services as JSON (DESIGN section 12) and
// as tables. Pure.
#pragma once

#include <string>

#include "cli/json_output.h"
#include "headlong/v1/admin.pb.h"
#include "headlong/v1/inference.pb.h"

namespace headlong {

bool CanServe(const v1::GetClusterResponse& cluster);

OutputJson ClusterJson(const v1::GetClusterResponse& cluster);
std::string ClusterText(const v1::GetClusterResponse& cluster);

OutputJson WorkersJson(const v1::ListWorkersResponse& workers);
std::string WorkersText(const v1::ListWorkersResponse& workers);

OutputJson RequestsJson(const v1::ListRequestsResponse& requests);
std::string RequestsText(const v1::ListRequestsResponse& requests);

}  // namespace headlong
