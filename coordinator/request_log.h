// One line in the log for each request that ends: how it ended, counts and times, with its id and
// trace as fields. Never what it said.
#pragma once

#include <memory>
#include <string>

#include "coordinator/ports.h"

namespace headlong {

struct LoggedRequest {
  std::string request_id;
  std::string trace_id;  // empty: the caller has none
  std::string caller;    // name of the access token; empty: none was asked for
};

// A port that logs what passes through it to `port`.
std::shared_ptr<ClientPort> LogTo(std::shared_ptr<ClientPort> port, const LoggedRequest& request);

}  // namespace headlong
