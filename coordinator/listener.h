// A port that strangers reach, in front of a gRPC server. Accepts connections itself and hands them
// over: gRPC's own listener stops for ever once the process has no file descriptor left, and who
// opens enough connections makes that happen. Here such connections are closed at once, and those
// that stand keep theirs. Each is watched by a ConnectionGuard. One thread of its own.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/connection_guard.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"

namespace headlong {

class Listener {
 public:
  // `address`: HOST:PORT, port 0: any free one. UNAVAILABLE names `flag` when it cannot be had.
  static absl::StatusOr<std::unique_ptr<Listener>> Bind(const std::string& address,
                                                        const std::string& flag);
  ~Listener();  // Stop

  int port() const { return port_; }
  // Before the server is built. `cut`: as ConnectionGuard::Start, as is what may go wrong.
  absl::Status AddTo(grpc::ServerBuilder& builder,
                     const std::shared_ptr<grpc::ServerCredentials>& credentials,
                     prometheus::Counter* cut);
  // Once the server runs. So many file descriptors of the process are left to everybody else.
  void Start(int reserved_descriptors);
  // Takes no connection any more. Before the server shuts down; idempotent.
  void Stop();

 private:
  Listener() = default;
  void Accept(int most_descriptors);
  void Take(int socket, int most_descriptors);

  std::vector<int> sockets_;
  int port_ = 0;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor_;
  std::shared_ptr<ConnectionGuard> guard_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// As many file descriptors as the system allows this process.
void RaiseDescriptorLimit();

}  // namespace headlong
