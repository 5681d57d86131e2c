// What operators read: answers of the Admin service as JSON (fields that scripts depend on), as
// tables, wide ones, and names. Pure.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "cli/admin_verb.h"
#include "headlong/v1/admin.pb.h"

namespace headlong {

bool CanServe(const v1::GetClusterResponse& cluster);

OutputJson ClusterJson(const v1::GetClusterResponse& cluster);
// With the workers, of whom it shows those that were refused.
AdminView ClusterView(const v1::GetClusterResponse& cluster,
                      const v1::ListWorkersResponse& workers);

OutputJson WorkerJson(const v1::Worker& worker);
AdminView WorkersView(const v1::ListWorkersResponse& workers);
// One of them, every field on a line of its own. NOT_FOUND: also says why it was refused, if it
// was.
absl::StatusOr<AdminView> WorkerView(const v1::ListWorkersResponse& workers, const std::string& id);

OutputJson RequestJson(const v1::RequestState& request);
AdminView RequestsView(const v1::ListRequestsResponse& requests);
// NOT_FOUND.
absl::StatusOr<AdminView> RequestView(const v1::ListRequestsResponse& requests,
                                      const std::string& id);

}  // namespace headlong
