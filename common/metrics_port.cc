#include "common/metrics_port.h"

#include <exception>
#include <vector>

#include "absl/strings/str_cat.h"

namespace headlong {

absl::StatusOr<std::unique_ptr<prometheus::Exposer>> ListenForMetrics(const std::string& address) {
  // Who sends a request byte by byte holds a thread for two seconds, not for the default of thirty.
  const std::vector<std::string> options = {"listening_ports",    address, "num_threads", "4",
                                            "request_timeout_ms", "2000"};
  try {
    return std::make_unique<prometheus::Exposer>(options);
  } catch (const std::exception&) {  // of the HTTP server, without a reason
    return absl::UnavailableError(absl::StrCat(
        "--metrics-listen: cannot listen on ", address,
        ": the port is in use or the address is not of this machine; choose another one"));
  }
}

}  // namespace headlong
