#include "cli/target.h"

#include "absl/strings/strip.h"
#include "cli/contexts.h"
#include "cli/logging.h"
#include "common/json.h"
#include "common/status.h"

namespace headlong {
namespace {

absl::StatusOr<Target> OpenEmbedded(const LocalClusterOptions& options, Terminal& terminal) {
  SetUpLogging(terminal, {"off"}, {});  // what goes wrong is the answer of a call
  Target target;
  absl::StatusOr<std::unique_ptr<LocalCluster>> cluster = LocalCluster::Start(options, terminal);
  if (!cluster.ok()) return cluster.status();
  target.cluster = *std::move(cluster);
  const absl::Status serving = target.cluster->WaitUntilServing();
  if (!serving.ok()) return serving;
  absl::StatusOr<std::unique_ptr<Client>> client =
      Client::Connect({DialAddress(target.cluster->client_address())});
  if (!client.ok()) return client.status();
  target.client = *std::move(client);
  return target;
}

}  // namespace

absl::StatusOr<ClientOptions> ClientOptionsFrom(const ServerFlags& server) {
  ClientOptions options;
  options.address = server.address;
  RETURN_IF_ERROR(CheckTlsFiles(server.files));
  options.tls = server.tls || server.files.any();
  options.tls_files = server.files;
  if (!server.token_file.empty()) {
    if (!options.tls) {
      return absl::InvalidArgumentError(
          "--token-file: the token would cross the network in the clear; give --tls or --tls-ca");
    }
    ASSIGN_OR_RETURN(const std::string text, ReadFile(server.token_file));
    options.token = std::string(absl::StripAsciiWhitespace(text));
  }
  return options;
}

absl::StatusOr<ServerFlags> ResolveServer(const ServerFlags& flags) {
  const Environment environment = FromEnvironment;
  return ResolveServer(flags, environment, [&] { return LoadContexts(ContextsPath(environment)); });
}

absl::StatusOr<std::unique_ptr<Client>> ConnectTo(const ServerFlags& flags) {
  ASSIGN_OR_RETURN(const ServerFlags server, ResolveServer(flags));
  ASSIGN_OR_RETURN(const ClientOptions options, ClientOptionsFrom(server));
  return Client::Connect(options);
}

ExitCode FailToStart(const absl::Status& status) {
  const ExitCode code = ExitCodeOf(status);
  if (code == ExitCode::kNotFound || code == ExitCode::kInterrupted) return Fail(status, code);
  return Fail(status, ExitCode::kFailed);
}

TargetOrExit OpenTarget(const TargetFlags& flags, int max_sequences, Terminal& terminal) {
  TargetOrExit result;
  if (!flags.embedded()) {
    absl::StatusOr<std::unique_ptr<Client>> client = ConnectTo(flags.server);
    if (!client.ok()) {
      result.exit = Fail(client.status());
    } else {
      result.target.client = *std::move(client);
    }
    return result;
  }
  absl::StatusOr<LocalClusterOptions> options = ClusterOptionsFrom(flags.engine, flags.local);
  if (!options.ok()) {
    const bool usage = options.status().code() == absl::StatusCode::kInvalidArgument;
    result.exit =
        usage ? FailUsage({options.status().message().data(), options.status().message().size()})
              : Fail(options.status());
    return result;
  }
  options->coordinator.listen = "127.0.0.1:0";
  if (flags.engine.max_sequences == 0) options->coordinator.max_sequences = max_sequences;
  options->quiet = true;
  options->log.level = "error";  // for the reason of a death
  absl::StatusOr<Target> target = OpenEmbedded(*options, terminal);
  if (target.ok()) {
    result.target = *std::move(target);
  } else {
    result.exit = FailToStart(target.status());
  }
  return result;
}

}  // namespace headlong
