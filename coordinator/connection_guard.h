// Cuts the connections of strangers who send without end and make no call (stranger_accounts says
// whose). Below TLS: it looks at what the kernel counts for a socket, never at bytes. A connection
// on which somebody made a call that not everybody may make is a stranger's no more and costs
// nothing from then on. One thread of its own, which sleeps while no stranger sends; everything
// else from any thread.
#pragma once

#include <sys/epoll.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "coordinator/stranger_accounts.h"
#include "grpcpp/support/server_interceptor.h"
#include "prometheus/counter.h"

namespace headlong {

class ConnectionGuard {
 public:
  // Each: a handshake, and what a client that begins many calls at once sends of them, 64 KB at
  // most in each round trip, until the first of them is known here. Quiet: a handshake and the
  // headers of a call.
  static constexpr StrangerLimits kLimits{
      .each_bytes = 512 << 10, .quiet_bytes = 4 << 10, .all_bytes = 4 << 20};

  // `port`: for the log. `cut` counts, null: nobody reads it. UNAVAILABLE without a descriptor.
  static absl::StatusOr<std::shared_ptr<ConnectionGuard>> Start(int port, prometheus::Counter* cut);
  ~ConnectionGuard();

  // Before gRPC has the connection. Keeps no descriptor of its own; notices by itself when gRPC
  // closes this one. False: it cannot be watched, and must not be served. A kernel that does not
  // count what sockets receive watches none, which is said once.
  bool Watch(int fd);

  // A call of a peer, as grpc::ServerContext::peer() names it, passed the gate. `by_anybody`: so
  // can the calls of strangers.
  void CallBegan(std::string_view peer, bool by_anybody);

 private:
  struct Connection {
    uint64_t cookie;  // the kernel's name of the socket: descriptors are used again
    std::string peer;
  };

  ConnectionGuard(int epoll, int port, prometheus::Counter* cut);
  void Run();
  void Look(const epoll_event& event) ABSL_LOCKS_EXCLUDED(mutex_);
  void Forget(int fd) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Cut(int fd) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Say(const std::string& peer);

  const int epoll_;
  const int port_;
  prometheus::Counter* const counter_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> unable_{false};
  absl::Mutex mutex_;
  // At most one for each descriptor of the process: a new connection takes the place of what had
  // its descriptor before.
  std::unordered_map<int, Connection> connections_ ABSL_GUARDED_BY(mutex_);
  StrangerAccounts accounts_ ABSL_GUARDED_BY(mutex_){kLimits};  // by descriptor
  std::unordered_multimap<std::string, int> by_peer_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

// "127.0.0.1 7000" of "ipv4:127.0.0.1:7000", "::1 7000" of "ipv6:%5B::1%5D:7000"; without a zone.
std::string PeerName(std::string_view uri);

// Tells `guard` of every call that passed the gate, before its message is read where that is a
// stream's or a late reader's (coordinator/late_reader.h). Costs nothing afterwards.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeCallWatch(
    std::shared_ptr<ConnectionGuard> guard);

}  // namespace headlong
