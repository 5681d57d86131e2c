#include "coordinator/connection_guard.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "common/status.h"
#include "coordinator/access.h"
#include "grpcpp/server_context.h"

namespace headlong {
namespace {

constexpr int kPollMs = 100;  // how long the end of the guard may take
constexpr std::chrono::seconds kSayAgain{10};

std::optional<uint64_t> CookieOf(int fd) {
  uint64_t cookie = 0;
  socklen_t length = sizeof(cookie);
  if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) != 0) return std::nullopt;
  return cookie;
}

std::optional<uint64_t> BytesReceived(int fd) {
  tcp_info info = {};
  socklen_t length = sizeof(info);
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return std::nullopt;
  if (length < offsetof(tcp_info, tcpi_bytes_received) + sizeof(info.tcpi_bytes_received)) {
    return std::nullopt;
  }
  return info.tcpi_bytes_received;
}

// As PeerName has it.
std::optional<std::string> PeerOf(int fd) {
  sockaddr_storage name = {};
  socklen_t length = sizeof(name);
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&name), &length) != 0) return std::nullopt;
  std::array<char, INET6_ADDRSTRLEN> host = {};
  if (name.ss_family == AF_INET) {
    const auto& ip = reinterpret_cast<const sockaddr_in&>(name);
    inet_ntop(AF_INET, &ip.sin_addr, host.data(), host.size());
    return absl::StrCat(host.data(), " ", ntohs(ip.sin_port));
  }
  const auto& ip = reinterpret_cast<const sockaddr_in6&>(name);
  if (IN6_IS_ADDR_V4MAPPED(&ip.sin6_addr)) {
    inet_ntop(AF_INET, &ip.sin6_addr.s6_addr[12], host.data(), host.size());
  } else {
    inet_ntop(AF_INET6, &ip.sin6_addr, host.data(), host.size());
  }
  return absl::StrCat(host.data(), " ", ntohs(ip.sin6_port));
}

// Ends a connection at once, with what nobody has read of it yet: shutdown() would leave that to be
// parsed.
bool Disconnect(int fd) {
  sockaddr nowhere = {};
  nowhere.sa_family = AF_UNSPEC;
  return connect(fd, &nowhere, sizeof(nowhere)) == 0 || shutdown(fd, SHUT_RDWR) == 0;
}

class CallWatch final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit CallWatch(std::shared_ptr<ConnectionGuard> guard) : guard_(std::move(guard)) {}

  // A call comes here when all of its headers have been read and the gate let it through.
  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* call) override {
    const absl::StatusOr<Scope> scope = ScopeOf(call->method());
    guard_->CallBegan(call->server_context()->peer(), !scope.ok() || *scope == Scope::kNone);
    return nullptr;  // nothing else of it is of interest
  }

 private:
  const std::shared_ptr<ConnectionGuard> guard_;
};

}  // namespace

std::string PeerName(std::string_view uri) {
  const std::string plain =
      absl::StrReplaceAll(Av(uri), {{"%5B", "["}, {"%5D", "]"}, {"%25", "%"}});
  absl::string_view rest = plain;
  if (!absl::ConsumePrefix(&rest, "ipv4:")) absl::ConsumePrefix(&rest, "ipv6:");
  const size_t colon = rest.rfind(':');
  if (colon == absl::string_view::npos) return plain;
  absl::string_view host = rest.substr(0, colon);
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  return absl::StrCat(host.substr(0, host.find('%')), " ", rest.substr(colon + 1));
}

absl::StatusOr<std::shared_ptr<ConnectionGuard>> ConnectionGuard::Start(int port,
                                                                        prometheus::Counter* cut) {
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot watch connections to port ", port, ": ", std::strerror(errno)));
  }
  return std::shared_ptr<ConnectionGuard>(new ConnectionGuard(epoll, port, cut));
}

ConnectionGuard::ConnectionGuard(int epoll, int port, prometheus::Counter* cut)
    : epoll_(epoll), port_(port), counter_(cut), thread_([this] { Run(); }) {}

ConnectionGuard::~ConnectionGuard() {
  stop_ = true;
  thread_.join();
  close(epoll_);
}

bool ConnectionGuard::Watch(int fd) {
  const std::optional<std::string> peer = PeerOf(fd);
  if (!peer) return false;
  const std::optional<uint64_t> cookie = CookieOf(fd);
  if (!cookie || !BytesReceived(fd)) {
    if (!unable_.exchange(true)) {
      spdlog::warn(
          "port {}: this kernel does not count what connections receive: strangers may "
          "send headers without end",
          port_);
    }
    return true;
  }
  const absl::MutexLock lock(&mutex_);
  Forget(fd);
  connections_.insert({fd, {*cookie, *peer}});
  by_peer_.insert({*peer, fd});
  accounts_.Open(fd);
  epoll_event event = {};
  event.events = EPOLLIN | EPOLLRDHUP | EPOLLET;
  event.data.fd = fd;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0) return true;
  Forget(fd);
  return false;
}

void ConnectionGuard::CallBegan(std::string_view peer, bool by_anybody) {
  const std::string name = PeerName(peer);
  const absl::MutexLock lock(&mutex_);
  // More than one only where a peer has the same port to two addresses of ours.
  const auto [begin, end] = by_peer_.equal_range(name);
  std::vector<int> fds;
  for (auto found = begin; found != end; ++found) fds.push_back(found->second);
  for (const int fd : fds) {
    if (by_anybody) {
      accounts_.CallBegan(fd);
    } else {
      epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
      Forget(fd);
    }
  }
}

void ConnectionGuard::Forget(int fd) {
  const auto connection = connections_.find(fd);
  if (connection == connections_.end()) return;
  const auto [begin, end] = by_peer_.equal_range(connection->second.peer);
  const auto peer = std::find_if(begin, end, [&](const auto& named) { return named.second == fd; });
  if (peer != end) by_peer_.erase(peer);
  accounts_.Close(fd);
  connections_.erase(connection);
}

void ConnectionGuard::Run() {
  std::array<epoll_event, 64> events = {};
  while (!stop_) {
    const int count = epoll_wait(epoll_, events.data(), events.size(), kPollMs);
    for (int i = 0; i < count; ++i) Look(events[i]);
  }
}

// gRPC may close the descriptor at any time, and somebody else get it. What is read of the wrong
// socket does no harm: Cut looks again, at a descriptor that nobody else closes.
void ConnectionGuard::Look(const epoll_event& event) {
  const absl::MutexLock lock(&mutex_);
  const int fd = event.data.fd;
  if (!connections_.contains(fd)) return;
  if (const std::optional<uint64_t> received = BytesReceived(fd)) {
    for (const int loud : accounts_.Received(fd, *received)) Cut(loud);
  }
  // Nothing comes any more, neither bytes nor events: the last of them were counted just now.
  if ((event.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) Forget(fd);
}

void ConnectionGuard::Cut(int fd) {
  const int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (own < 0 && errno != EBADF) return;  // no descriptor is left: when it sends more
  const Connection& connection = connections_.at(fd);
  if (CookieOf(own) == connection.cookie && Disconnect(own)) {
    if (counter_ != nullptr) counter_->Increment();
    Say(connection.peer);
  }
  if (own >= 0) close(own);
  Forget(fd);
}

void ConnectionGuard::Say(const std::string& peer) {
  thread_local auto said = std::chrono::steady_clock::time_point();
  thread_local int unsaid = 0;
  const auto now = std::chrono::steady_clock::now();
  ++unsaid;
  if (now - said < kSayAgain) return;
  spdlog::warn("port {}: cut {} connections that sent much and made no call, the last from {}",
               port_, unsaid, peer);
  said = now;
  unsaid = 0;
}

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeCallWatch(
    std::shared_ptr<ConnectionGuard> guard) {
  return std::make_unique<CallWatch>(std::move(guard));
}

}  // namespace headlong
