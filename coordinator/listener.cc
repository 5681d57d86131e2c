#include "coordinator/listener.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr int kBacklog = 1024;
constexpr int kPollMs = 50;
constexpr std::chrono::seconds kSayAgain{10};

struct Resolved {
  addrinfo* list = nullptr;
  ~Resolved() {
    if (list != nullptr) freeaddrinfo(list);
  }
};

int PortOf(int socket) {
  sockaddr_storage name = {};
  socklen_t length = sizeof(name);
  getsockname(socket, reinterpret_cast<sockaddr*>(&name), &length);
  return ntohs(name.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&name)->sin6_port
                                          : reinterpret_cast<sockaddr_in*>(&name)->sin_port);
}

// Listens at one of a name's addresses; -1 with errno.
int ListenAt(const addrinfo& where, int port) {
  sockaddr_storage name = {};
  std::memcpy(&name, where.ai_addr, where.ai_addrlen);
  auto& port_field = where.ai_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&name)->sin6_port
                                                 : reinterpret_cast<sockaddr_in*>(&name)->sin_port;
  port_field = htons(static_cast<uint16_t>(port));
  const int one = 1;
  const int fd = socket(where.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  if (bind(fd, reinterpret_cast<sockaddr*>(&name), where.ai_addrlen) == 0 &&
      listen(fd, kBacklog) == 0) {
    return fd;
  }
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

}  // namespace

void RaiseDescriptorLimit() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

absl::StatusOr<std::unique_ptr<Listener>> Listener::Bind(const std::string& address,
                                                         const std::string& flag) {
  const auto refuse = [&](const char* why) {
    return absl::UnavailableError(
        absl::StrCat(flag, ": cannot listen on ", address, " (", why,
                     "): the port is in use or the address is not of this machine; choose another "
                     "one"));
  };
  const size_t colon = address.rfind(':');  // as CheckListenAddress found
  absl::string_view host(address.data(), colon);
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  Resolved resolved;
  const int error =
      getaddrinfo(std::string(host).c_str(), address.c_str() + colon + 1, &hints, &resolved.list);
  if (error != 0) return refuse(gai_strerror(error));
  std::unique_ptr<Listener> listener(new Listener);
  listener->port_ = std::stoi(address.substr(colon + 1));
  int reason = 0;
  for (const addrinfo* where = resolved.list; where != nullptr; where = where->ai_next) {
    const int fd = ListenAt(*where, listener->port_);
    if (fd < 0) {
      reason = errno;
      if (reason == EADDRINUSE) return refuse(std::strerror(reason));
      continue;  // e.g. a name with an address of IPv6 where there is none
    }
    listener->sockets_.push_back(fd);
    listener->port_ = PortOf(fd);  // the same for all of them
  }
  if (listener->sockets_.empty()) return refuse(std::strerror(reason));
  return listener;
}

Listener::~Listener() { Stop(); }

absl::Status Listener::AddTo(grpc::ServerBuilder& builder,
                             const std::shared_ptr<grpc::ServerCredentials>& credentials,
                             prometheus::Counter* cut) {
  using Experimental = grpc::ServerBuilder::experimental_type;
  ASSIGN_OR_RETURN(guard_, ConnectionGuard::Start(port_, cut));
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> watches;
  watches.push_back(MakeCallWatch(guard_));
  builder.experimental().SetInterceptorCreators(std::move(watches));
  acceptor_ = builder.experimental().AddExternalConnectionAcceptor(
      Experimental::ExternalConnectionType::FROM_FD, credentials);
  return absl::OkStatus();
}

void Listener::Start(int reserved_descriptors) {
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  const auto all = static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 1 << 20));
  // Under a small limit nobody's reserve may be all of it.
  const int most = std::max(all - reserved_descriptors, all / 2);
  thread_ = std::thread([this, most] { Accept(most); });
}

void Listener::Stop() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
  for (const int socket : sockets_) close(socket);
  sockets_.clear();
}

void Listener::Accept(int most_descriptors) {
  std::vector<pollfd> fds;
  for (const int socket : sockets_) fds.push_back({socket, POLLIN, 0});
  while (!stop_) {
    if (poll(fds.data(), fds.size(), kPollMs) <= 0) continue;
    for (const pollfd& fd : fds) {
      if ((fd.revents & POLLIN) != 0) Take(fd.fd, most_descriptors);
    }
  }
}

// A new descriptor is the lowest that is free: one beyond the limit says that so many are in use.
void Listener::Take(int socket, int most_descriptors) {
  thread_local auto said = std::chrono::steady_clock::time_point();
  const int fd = accept4(socket, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  const bool none_left = fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM);
  if (fd >= 0 && fd < most_descriptors) {
    const int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (!guard_->Watch(fd)) {  // it went away meanwhile, or the kernel has no memory
      close(fd);
      return;
    }
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
    connection.listener_fd = socket;
    connection.fd = fd;
    return acceptor_->HandleNewConnection(&connection);
  }
  if (fd >= 0) close(fd);
  if (fd < 0 && !none_left) return;  // it went away meanwhile
  if (none_left) std::this_thread::sleep_for(std::chrono::milliseconds(kPollMs));
  if (const auto now = std::chrono::steady_clock::now(); now - said > kSayAgain) {
    said = now;
    spdlog::warn("connections to port {} are refused: {} file descriptors are in use", port_,
                 most_descriptors);
  }
}

}  // namespace headlong
