// Where the requests of a command go: an existing server, or a quiet cluster of the command's own
// that ends with it.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "cli/client.h"
#include "cli/exit_code.h"
#include "cli/flags.h"
#include "cli/local_cluster.h"
#include "cli/terminal.h"

namespace headlong {

struct Target {
  std::unique_ptr<LocalCluster> cluster;  // null: a server
  std::unique_ptr<Client> client;         // destroyed first
};

struct TargetOrExit {
  Target target;
  ExitCode exit = ExitCode::kOk;  // else the error is printed already
  bool ok() const { return exit == ExitCode::kOk; }
};

// `max_sequences` is for an own cluster whose flags do not say: as many as the command has at once.
TargetOrExit OpenTarget(const TargetFlags& flags, int max_sequences, Terminal& terminal);

// With what the environment and the user's contexts say where the command line does not.
absl::StatusOr<ServerFlags> ResolveServer(const ServerFlags& flags);

// How to connect to a server that is resolved. INVALID_ARGUMENT names the flag or file that is
// wrong.
absl::StatusOr<ClientOptions> ClientOptionsFrom(const ServerFlags& server);

// Both, and the connection.
absl::StatusOr<std::unique_ptr<Client>> ConnectTo(const ServerFlags& flags);

// Exit code of a cluster that did not come up: the addresses are ours, so nothing is "unreachable".
ExitCode FailToStart(const absl::Status& status);

}  // namespace headlong
