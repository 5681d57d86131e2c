#include "coordinator/listen_address.h"

#include "absl/strings/numbers.h"
#include "common/status.h"

namespace headlong {
namespace {

std::string_view HostOf(std::string_view address) {
  const size_t colon = address.rfind(':');
  return colon == std::string_view::npos ? address : address.substr(0, colon);
}

}  // namespace

bool IsLoopback(std::string_view address) {
  const std::string_view host = HostOf(address);
  const bool dotted = host.find_first_not_of("0123456789.") == std::string_view::npos;
  return (dotted && host.starts_with("127.")) || host == "localhost" || host == "[::1]";
}

absl::Status CheckListenAddress(std::string_view address, std::string_view flag,
                                bool fit_for_strangers, std::string_view remedy) {
  const size_t colon = address.rfind(':');
  int port = 0;
  if (colon == std::string_view::npos || colon == 0 ||
      !absl::SimpleAtoi(Av(address.substr(colon + 1)), &port) || port < 0 || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat(Av(flag), ": must be HOST:PORT, is \"", Av(address), "\""));
  }
  if (fit_for_strangers || IsLoopback(address)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      Av(flag), ": ", Av(address), " is reachable from other machines and nothing is encrypted or ",
      "authenticated; listen on 127.0.0.1, give ", Av(remedy),
      ", or --insecure if the network is trusted"));
}

std::string WithPort(std::string_view address, int port) {
  return absl::StrCat(Av(HostOf(address)), ":", port);
}

}  // namespace headlong
